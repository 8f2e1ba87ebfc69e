//! Real events and the walkthrough that sends them: see README.md beside this folder.
#![forbid(unsafe_code)]
