//! The lists that evidence is held against, as an operator sees them: services with a publisher whose
//! every answer the test decides, on a clock that the test moves.

mod copies;
mod feed;
mod files;
mod publisher;
