//! Counts work, for tests of growth: they compare the count for an input with that for one twice as large. A count does not
//! depend on the machine or on what else runs there, as a time does. Outside of unit tests nothing is counted.
//!
//! What is counted is what is done for each byte, token, name, host or file. A loop over all of them for each of them calls
//! one of these functions as often.

/// Notes that so much was done.
#[cfg(not(test))]
pub(crate) fn count(_units: usize) {}

#[cfg(test)]
thread_local! {
    static DONE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Notes that so much was done.
#[cfg(test)]
pub(crate) fn count(units: usize) {
    DONE.set(DONE.get() + units);
}

/// How much is done in a function, on this thread.
#[cfg(test)]
pub(crate) fn done_in(function: impl FnOnce()) -> usize {
    let before = DONE.get();
    function();
    DONE.get() - before
}
