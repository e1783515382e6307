//! Documents: small values that programs around an engine keep.

use super::dialect::{self, Now, immediately};
use super::rows::Place;
use super::schema::documents;
use super::text::StoredText;
use super::{Connection, Here, failed};
use async_trait::async_trait;
use diesel::{
    BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable, RunQueryDsl,
    Selectable, SelectableHelper,
};
use freshmaker::backend::{Document, Documents, NewDocument, Result};
use freshmaker::rebuild::Version;
use freshmaker::store::conflict;
use freshmaker::time::{from_micros, to_micros};

#[derive(Queryable, Selectable)]
#[diesel(table_name = documents)]
struct DocumentRow {
    number: i64,
    kind: StoredText,
    id: StoredText,
    version: i64,
    body: StoredText,
    created_at: i64,
    expires_at: Option<i64>,
}

#[derive(Insertable)]
#[diesel(table_name = documents)]
struct NewRow<'a> {
    kind: &'a str,
    id: &'a str,
    version: i64,
    body: &'a str,
    created_at: i64,
    expires_at: Option<i64>,
}

impl DocumentRow {
    fn record(self) -> Result<Document> {
        let place = Place { table: "documents", id: &self.number };
        Ok(Document {
            number: self.number,
            version: place.small("version", self.version)?,
            body: place.json("body", &self.body)?,
            created_at: from_micros(self.created_at),
            expires_at: self.expires_at.map(from_micros),
            kind: place.text("kind", self.kind)?,
            id: place.text("id", self.id)?,
        })
    }
}

/// Selects the documents of a kind that have not expired.
macro_rules! of_kind {
    ($kind:expr, $now:expr) => {
        documents::table
            .filter(documents::kind.eq($kind))
            .filter(documents::expires_at.is_null().or(documents::expires_at.gt(to_micros($now))))
    };
}

pub(super) fn get(connection: &mut Connection, kind: &str, id: &str, now: Now) -> Result<Option<Document>> {
    let now = dialect::moment(connection, now)?;
    let row = of_kind!(kind, now).filter(documents::id.eq(id)).select(DocumentRow::as_select());
    row.get_result(connection).optional().map_err(failed)?.map(DocumentRow::record).transpose()
}

pub(super) fn list(
    connection: &mut Connection,
    kind: &str,
    before: Option<i64>,
    limit: u32,
    now: Now,
) -> Result<Vec<Document>> {
    let now = dialect::moment(connection, now)?;
    let rows = of_kind!(kind, now).filter(documents::number.lt(before.unwrap_or(i64::MAX)));
    let rows = rows.order(documents::number.desc()).limit(limit.into()).select(DocumentRow::as_select());
    let rows = rows.load(connection).map_err(failed)?;
    Ok(rows.into_iter().filter_map(|row| row.record().ok()).collect())
}

pub(super) fn put(connection: &mut Connection, new: &NewDocument, now: Now) -> Result<Document> {
    let body = new.text()?;
    immediately(connection, |connection| {
        let (kind, id) = (new.kind.as_str(), new.id.as_str());
        dialect::lock_documents(connection, kind)?;
        let now = dialect::moment(connection, now)?;
        let there = of_kind!(kind, now).filter(documents::id.eq(id)).select((documents::number, documents::version));
        let there = there.get_result::<(i64, i64)>(connection).optional().map_err(failed)?;
        let version = there.map(|(_, version)| Version::try_from(version).unwrap_or(Version::MAX));
        if version != new.expected {
            return Err(conflict(format!("{kind} {id} has version {version:?}, not {:?}", new.expected)));
        }
        let over = documents::kind.eq(kind).and(documents::expires_at.le(to_micros(now)));
        diesel::delete(documents::table.filter(over)).execute(connection).map_err(failed)?;
        let expires_at = new.expires_at.map(to_micros);
        let row: DocumentRow = match there {
            Some((number, version)) => {
                let changed = (
                    documents::version.eq(version + 1),
                    documents::body.eq(&body),
                    documents::expires_at.eq(expires_at),
                );
                let row = diesel::update(documents::table.find(number)).set(changed);
                row.returning(DocumentRow::as_returning()).get_result(connection).map_err(failed)?
            }
            None => {
                let row = NewRow { kind, id, version: 0, body: &body, created_at: to_micros(now), expires_at };
                let row = diesel::insert_into(documents::table).values(row);
                row.returning(DocumentRow::as_returning()).get_result(connection).map_err(failed)?
            }
        };
        if let Some(keep) = new.keep {
            trim(connection, &row, keep)?;
        }
        row.record()
    })
}

/// Removes the oldest documents of the kind of this one, which stays.
fn trim(connection: &mut Connection, row: &DocumentRow, keep: u32) -> Result<()> {
    let others = || documents::kind.eq(&row.kind).and(documents::number.ne(row.number));
    let surplus = documents::table.filter(others()).order(documents::number.desc());
    let surplus = surplus.offset(i64::from(keep.saturating_sub(1))).limit(1).select(documents::number);
    if let Some(last) = surplus.get_result::<i64>(connection).optional().map_err(failed)? {
        let old = documents::table.filter(others().and(documents::number.le(last)));
        diesel::delete(old).execute(connection).map_err(failed)?;
    }
    Ok(())
}

pub(super) fn remove(connection: &mut Connection, kind: &str, id: &str, now: Now) -> Result<bool> {
    immediately(connection, |connection| {
        dialect::lock_documents(connection, kind)?;
        let now = dialect::moment(connection, now)?;
        let there = of_kind!(kind, now).filter(documents::id.eq(id)).count();
        let there = there.get_result::<i64>(connection).map_err(failed)? > 0;
        let this = documents::kind.eq(kind).and(documents::id.eq(id));
        diesel::delete(documents::table.filter(this)).execute(connection).map_err(failed)?;
        Ok(there)
    })
}

#[async_trait]
impl Documents for Here {
    async fn get(&self, kind: &str, id: &str) -> Result<Option<Document>> {
        let (kind, id, now) = (kind.to_owned(), id.to_owned(), self.now());
        self.urgent(move |connection| get(connection, &kind, &id, now)).await
    }

    async fn list(&self, kind: &str, before: Option<i64>, limit: u32) -> Result<Vec<Document>> {
        let (kind, now) = (kind.to_owned(), self.now());
        // An engine asks what is paused before it starts anything.
        self.urgent(move |connection| list(connection, &kind, before, limit, now)).await
    }

    async fn put(&self, document: NewDocument) -> Result<Document> {
        let now = self.now();
        self.write(move |connection| put(connection, &document, now)).await
    }

    async fn remove(&self, kind: &str, id: &str) -> Result<bool> {
        let (kind, id, now) = (kind.to_owned(), id.to_owned(), self.now());
        self.write(move |connection| remove(connection, &kind, &id, now)).await
    }
}
