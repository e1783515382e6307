//! stub
/// x
pub fn order() {}
