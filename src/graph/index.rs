//! Indices as types of their own, and tables that only take their own index.

use std::marker::PhantomData;
use std::ops;

/// An index of 32 bits. Each implementation counts something else.
pub(crate) trait Index: Copy {
    /// The index of a number.
    fn of(number: u32) -> Self;

    /// The number of an index.
    fn number(self) -> u32;
}

/// Declares a newtype of `u32` as an [`Index`].
macro_rules! index {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(u32);

        impl $crate::graph::Index for $name {
            #[inline]
            fn of(number: u32) -> Self {
                Self(number)
            }

            #[inline]
            fn number(self) -> u32 {
                self.0
            }
        }
    };
}
pub(crate) use index;

index! {
    /// The number of an artifact in its [`ArtifactGraph`](super::ArtifactGraph).
    ///
    /// The public methods `number` and `numbered` speak of the same numbers as `u32`.
    ArtifactIndex
}

/// One value for each index below a length.
///
/// Only the index type of the table is accepted: `marks[position]` does not compile if `marks`
/// is a table of artifacts and `position` counts builds of a plan.
#[derive(Clone, Debug)]
pub(crate) struct Table<I, T> {
    rows: Vec<T>,
    index: PhantomData<fn(I)>,
}

impl<I: Index, T> Table<I, T> {
    /// A table without rows.
    pub(crate) fn with_capacity(rows: usize) -> Self {
        Vec::with_capacity(rows).into()
    }

    /// A table of this length that has the same value everywhere. Cost: O(length).
    pub(crate) fn filled(value: T, length: usize) -> Self
    where
        T: Clone,
    {
        vec![value; length].into()
    }

    /// Adds a row and returns its index.
    pub(crate) fn push(&mut self, value: T) -> I {
        self.rows.push(value);
        // Memory cannot hold more than can be numbered.
        I::of(u32::try_from(self.rows.len() - 1).unwrap_or(u32::MAX))
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows with their indices, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        (0..).map(I::of).zip(&self.rows)
    }

    /// The rows without their indices.
    pub(crate) fn as_slice(&self) -> &[T] {
        &self.rows
    }
}

impl<I, T> From<Vec<T>> for Table<I, T> {
    fn from(rows: Vec<T>) -> Self {
        Self { rows, index: PhantomData }
    }
}

impl<I: Index, T> ops::Index<I> for Table<I, T> {
    type Output = T;

    #[inline]
    fn index(&self, index: I) -> &T {
        &self.rows[index.number() as usize]
    }
}

impl<I: Index, T> ops::IndexMut<I> for Table<I, T> {
    #[inline]
    fn index_mut(&mut self, index: I) -> &mut T {
        &mut self.rows[index.number() as usize]
    }
}
