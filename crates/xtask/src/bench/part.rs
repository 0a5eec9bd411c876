//! What can be measured, and chosen.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::index::Index;
use super::load::Load;
use super::workload::Shape;

/// A section of the page with the figures: what is measured and written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Files,
    Server,
    Catalog,
}

/// What `--only` names: a section or one part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Whole(Section),
    Files(Shape),
    Server(Load),
    /// The one part of its section.
    Index(Index),
}

impl Section {
    pub(super) const ALL: [Self; 3] = [Self::Files, Self::Server, Self::Catalog];

    /// Its parts, or the one that is chosen.
    pub(super) fn parts(self, only: Option<Part>) -> impl Iterator<Item = Part> {
        let parts = Part::value_variants().iter().copied();
        parts.filter(move |part| {
            let is_chosen = only.is_none_or(|only| only == *part || only == Part::Whole(self));
            let is_of_this = match part {
                Part::Whole(_) => false,
                Part::Files(_) => self == Self::Files,
                Part::Server(_) => self == Self::Server,
                Part::Index(_) => self == Self::Catalog,
            };
            is_chosen && is_of_this
        })
    }
}

impl ValueEnum for Part {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Whole(Section::Files),
            Self::Files(Shape::Small),
            Self::Files(Shape::Mixed),
            Self::Files(Shape::Large),
            Self::Files(Shape::Single),
            Self::Files(Shape::Tiny),
            Self::Files(Shape::Medium),
            Self::Whole(Section::Server),
            Self::Server(Load::Records),
            Self::Server(Load::Spool),
            Self::Server(Load::Clients),
            Self::Server(Load::SameRun),
            Self::Server(Load::Artifact),
            Self::Index(Index::Catalog),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Whole(Section::Files) => {
                Some(PossibleValue::new("files").help("All of files and buckets"))
            }
            Self::Whole(Section::Server) => {
                Some(PossibleValue::new("server").help("All of the server"))
            }
            // Its one part has its name.
            Self::Whole(Section::Catalog) => None,
            Self::Files(shape) => shape.to_possible_value(),
            Self::Server(load) => load.to_possible_value(),
            Self::Index(index) => index.to_possible_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::{Load, Part, Section, Shape};

    #[test]
    fn every_part_is_in_one_section() {
        let of = |section: Section, only| section.parts(only).count();
        assert_eq!(of(Section::Files, None), Shape::value_variants().len());
        assert_eq!(of(Section::Server, None), Load::value_variants().len());
        let one = Some(Part::Server(Load::Spool));
        assert_eq!((of(Section::Files, one), of(Section::Server, one)), (0, 1));
        let whole = Some(Part::Whole(Section::Files));
        assert_eq!(of(Section::Files, whole), Shape::value_variants().len());
        assert_eq!(of(Section::Server, whole), 0);
    }
}
