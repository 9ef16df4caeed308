//! The inbox attacked in real time: real processes, a real PostgreSQL, real faults.
