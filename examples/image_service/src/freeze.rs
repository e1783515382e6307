//! Windows of the week in which images are not rebuilt: `handlers` leaves them out of a plan, a
//! build that was planned before fails in `step`, and `watch` asks again when the window has ended.
//! No event waits.

use crate::config::Images;
use freshmaker::artifact::ArtifactId;
use freshmaker::time::Timestamp;
use serde::Deserialize;
use std::str::FromStr;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_DAY: u32 = 24 * 60;
const MINUTES_OF_WEEK: u32 = 7 * MINUTES_OF_DAY;

/// A window in which some images, or all, are not rebuilt.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Freeze {
    from: Moment,
    to: Moment,
    #[serde(default)]
    images: Images,
    pub(crate) because: String,
}

/// A minute of the week, in UTC: `Fri 16:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Moment(u32);

impl TryFrom<String> for Moment {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (day, time) = text.split_once(' ')?;
            let (hour, minute) = time.split_once(':')?;
            let day = DAYS.iter().position(|name| name.eq_ignore_ascii_case(day))?;
            let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
            let is_time = hour < 24 && minute < 60;
            is_time.then_some(Self(u32::try_from(day).ok()? * MINUTES_OF_DAY + hour * 60 + minute))
        };
        read().ok_or_else(|| format!("{text:?} is not a time of the week (UTC), such as \"Fri 16:00\""))
    }
}

impl Moment {
    fn of(time: Timestamp) -> Self {
        // The first of January 1970 was a Thursday.
        let minutes = time.timestamp().div_euclid(60) + i64::from(3 * MINUTES_OF_DAY);
        Self(u32::try_from(minutes.rem_euclid(i64::from(MINUTES_OF_WEEK))).unwrap_or_default())
    }
}

impl Freeze {
    /// Whether an image is not to be rebuilt at this time. A window may go over the end of the
    /// week; one that ends when it begins never ends.
    pub(crate) fn holds(&self, image: &ArtifactId, now: Timestamp) -> bool {
        let Moment(now) = Moment::of(now);
        let (from, to) = (self.from.0, self.to.0);
        let is_time = if from < to { (from..to).contains(&now) } else { now >= from || now < to };
        is_time && self.images.contain(image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(from: &str, to: &str, images: &[&str]) -> Freeze {
        let images = Images(images.iter().map(|&image| image.to_owned()).collect());
        Freeze { from: from.parse().unwrap(), to: to.parse().unwrap(), images, because: "weekend".to_owned() }
    }

    #[test]
    fn a_window_has_a_begin_and_an_end() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let app = ArtifactId::from("r.example.org/shop/app:1");
        let weekend = freeze("Fri 16:00", "Mon 06:00", &[]);
        for (time, wanted) in [
            ("2026-11-27T15:59:59Z", false),
            ("2026-11-27T16:00:00Z", true),
            ("2026-11-29T12:00:00Z", true),
            ("2026-11-30T05:59:59Z", true),
            ("2026-11-30T06:00:00Z", false),
            ("1969-12-27T12:00:00Z", true),
        ] {
            assert_eq!(weekend.holds(&app, at(time)), wanted, "{time}");
        }
        assert!(freeze("Tue 10:00", "Tue 10:00", &[]).holds(&app, at("2026-11-30T06:00:00Z")));
        let shop = freeze("Mon 00:00", "Mon 01:00", &["r.example.org/shop/"]);
        assert!(shop.holds(&app, at("2026-11-30T00:30:00Z")));
        assert!(!shop.holds(&ArtifactId::from("r.example.org/other:1"), at("2026-11-30T00:30:00Z")));
    }

    #[test]
    fn mistakes_say_what_is_expected() {
        for text in ["", "Fri", "Fri 24:00", "Fri 10:60", "Freitag 10:00", "Fri 10"] {
            assert!(text.parse::<Moment>().unwrap_err().contains("such as \"Fri 16:00\""), "{text}");
        }
    }
}
