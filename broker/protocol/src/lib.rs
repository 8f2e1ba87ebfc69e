//! The wire protocol: primitives, frames, one table per message, record batches. No IO, no state.
//!
//! ```text
//!   a frame as it arrived        Chunks
//!     -> Reader                  bounds and a memory budget; nothing is believed
//!     -> decode_request_header   which call, which version
//!     -> Message::read           one struct for every version; records stay the pieces they arrived in
//!
//!   an answer                    a struct of messages/, its records parts of files or memory
//!     -> encode_response         one buffer, records placed into it by reference
//!     -> Vec<Part>               what goes out
//! ```
//! In reading order: [`reader`](Reader) and [`writer`](Writer), `wire` with the table that makes a message, [`messages`],
//! `frame`, [`records`].
#![forbid(unsafe_code)]

mod api_key;
mod error_code;
mod frame;
pub mod messages;
mod reader;
pub mod records;
mod uuid;
mod wire;
mod writer;

pub use api_key::ApiKey;
pub use error_code::ErrorCode;
pub use frame::{RequestHeader, decode_request_header, decode_response, encode_request, encode_response};
pub use reader::{BYTES_ALLOCATED_PER_BYTE, DecodeError, Reader};
pub use uuid::{ParseUuidError, Uuid};
pub use wire::{Message, Request};
pub use writer::{EncodeError, Writer};
