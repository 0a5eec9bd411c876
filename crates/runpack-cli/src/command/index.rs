//! The catalog beside what takes packs for long, if this program has catalogs and there is one.

#[cfg(feature = "catalog")]
pub(crate) use crate::catalog::Following as Index;
#[cfg(not(feature = "catalog"))]
pub(crate) use without::Index;

#[cfg(not(feature = "catalog"))]
mod without {
    use std::sync::Arc;

    use runpack_core::limits::Limits;
    use runpack_core::store::Store;
    use runpack_server::commits::OnCommit;

    use crate::context::Context;
    use crate::failure::Failure;
    use crate::storage::Storage;

    /// There is none.
    #[derive(Debug)]
    pub(crate) enum Index {}

    impl Index {
        #[expect(
            clippy::unnecessary_wraps,
            reason = "a program with catalogs fails here"
        )]
        pub(crate) fn of(
            _: &Context,
            _: &Storage,
            _: &Arc<dyn Store>,
            _: &Limits,
        ) -> Result<Option<(Self, OnCommit)>, Failure> {
            Ok(None)
        }

        pub(crate) async fn run(self, _: impl Future<Output = ()> + Send) {
            match self {}
        }
    }
}
