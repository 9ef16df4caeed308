//! The inbox attacked in simulated time, by seeds.
