//! The stores of the core, held to what every store must do and against each other.

mod stores {
    mod conforming;
    mod lying;
    mod model;
}
