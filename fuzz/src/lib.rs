//! What is fuzzed, and the corpora that every test run replays.
