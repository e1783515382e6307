use crate::world::World;
use freshmaker::image::Selection;
pub(crate) fn hold(_world: &World, _selection: &Selection) {}
