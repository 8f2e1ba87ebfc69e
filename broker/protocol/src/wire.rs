//! How values lie on the wire, and the `message!` table that makes a message of them.
//!
//! One trait serves the plain and the compact encodings: what differs between versions is an argument ([`At`]), so there
//! are no twin types. A message is its table and nothing else:
//!
//! ```text
//! message! { pub FetchRequest {
//!     max_wait_ms: i32 [0..],                                   versions that have the field
//!     max_bytes: i32 [3..] = i32::MAX,                          and its default, where it is not the type's
//!     topics: Option<Vec<FetchTopic>> [0..] nullable [1..],     versions in which it may be null
//! } tagged {
//!     0 cluster_id: Option<String> [12..],                      written only when it is not the default
//! } key Fetch, versions 4..=18, flexible 12.. }
//! ```
//!
//! Reading leaves a field that the version lacks at its default. Writing passes over it, so one handler fills one struct
//! for every version. A field that may be null and has no default of its own starts as null, not as Kafka's empty string:
//! absence reads as absence.

#[cfg(test)]
pub(crate) mod any;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use crate::reader::Length;
use crate::records::{Chunks, Part};
use crate::{ApiKey, DecodeError, EncodeError, ErrorCode, Reader, Uuid, Writer};

/// A request or a response: a key, the versions this codec has, and its bytes in each.
pub trait Message: Sized {
    /// The call it belongs to.
    const KEY: ApiKey;
    /// The versions that can be read and written.
    const VERSIONS: RangeInclusive<i16>;

    /// Reads the message, which must reach to the end of the frame.
    fn read(reader: &mut Reader, version: i16) -> Result<Self, DecodeError>;

    /// Writes the message.
    fn write(&self, writer: &mut Writer, version: i16) -> Result<(), EncodeError>;
}

/// A request, and what answers it.
pub trait Request: Message {
    /// The answer, of the same key and version.
    type Response: Message;
}

/// Where a value lies: in which version of its message, and as which kind of field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At {
    pub(crate) version: i16,
    /// Lengths are compact, and structs end with tagged fields.
    pub(crate) flexible: bool,
    /// The field may be null.
    pub(crate) nullable: bool,
}

impl At {
    fn string_length(self) -> Length {
        if self.flexible { Length::Compact } else { Length::Int16 }
    }

    fn array_length(self) -> Length {
        if self.flexible { Length::Compact } else { Length::Int32 }
    }
}

/// A value that a field can hold.
pub(crate) trait Wire: Sized {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError>;
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Wire for $type {
            fn read(reader: &mut Reader, _: At) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }

            fn write(&self, writer: &mut Writer, _: At) -> Result<(), EncodeError> {
                writer.bytes(&self.to_be_bytes());
                Ok(())
            }
        }
    )*};
}

integer!(i8, i16, i32, i64);

impl Wire for bool {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        // Any value but 0 is true, as in Kafka.
        Ok(i8::read(reader, at)? != 0)
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        i8::from(*self).write(writer, at)
    }
}

impl Wire for ErrorCode {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        Ok(i16::read(reader, at)?.into())
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        self.code().write(writer, at)
    }
}

impl Wire for Uuid {
    fn read(reader: &mut Reader, _: At) -> Result<Self, DecodeError> {
        Ok(Self(reader.array()?))
    }

    fn write(&self, writer: &mut Writer, _: At) -> Result<(), EncodeError> {
        writer.bytes(&self.0);
        Ok(())
    }
}

impl Wire for String {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        let length = reader.length(at.string_length())?.ok_or(DecodeError::Null)?;
        reader.string(length)
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        writer.length(at.string_length(), Some(self.len()))?;
        writer.bytes(self.as_bytes());
        Ok(())
    }
}

impl Wire for Option<String> {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        match reader.length(at.string_length())? {
            Some(length) => reader.string(length).map(Some),
            None if at.nullable => Ok(None),
            None => Err(DecodeError::Null),
        }
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        match self {
            Some(text) => text.write(writer, at),
            None if at.nullable => writer.length(at.string_length(), None),
            None => Err(EncodeError::Null),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        let count = reader.length(at.array_length())?.ok_or(DecodeError::Null)?;
        elements(reader, at, count)
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        writer.length(at.array_length(), Some(self.len()))?;
        self.iter().try_for_each(|element| element.write(writer, at))
    }
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        match reader.length(at.array_length())? {
            Some(count) => elements(reader, at, count).map(Some),
            None if at.nullable => Ok(None),
            None => Err(DecodeError::Null),
        }
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        match self {
            Some(elements) => elements.write(writer, at),
            None if at.nullable => writer.length(at.array_length(), None),
            None => Err(EncodeError::Null),
        }
    }
}

fn elements<T: Wire>(reader: &mut Reader, at: At, count: usize) -> Result<Vec<T>, DecodeError> {
    let mut elements = reader.list(count)?;
    for _ in 0..count {
        elements.push(T::read(reader, at)?);
    }
    Ok(elements)
}

/// Records as a request carries them: the pieces they arrived in.
impl Wire for Option<Chunks> {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        reader.length(at.array_length())?.map(|length| reader.chunks(length)).transpose()
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        writer.length(at.array_length(), self.as_ref().map(Chunks::len))?;
        for piece in self.iter().flat_map(Chunks::parts) {
            writer.embed(Part::Bytes(piece.clone()));
        }
        Ok(())
    }
}

/// Records as an answer carries them: bytes and ranges of files. Null reads as none, and none is written as empty.
impl Wire for Vec<Part> {
    fn read(reader: &mut Reader, at: At) -> Result<Self, DecodeError> {
        let records = <Option<Chunks> as Wire>::read(reader, at)?.unwrap_or_default();
        let mut parts = reader.list(usize::from(!records.is_empty()))?;
        parts.extend(records.parts().iter().cloned().map(Part::Bytes));
        Ok(parts)
    }

    fn write(&self, writer: &mut Writer, at: At) -> Result<(), EncodeError> {
        writer.length(at.array_length(), Some(self.iter().map(Part::len).sum()))?;
        self.iter().for_each(|part| writer.embed(part.clone()));
        Ok(())
    }
}

/// Declares a struct of the protocol, its defaults, and its bytes in every version; see the head of this file.
macro_rules! message {
    (
        $(#[$doc:meta])*
        $visibility:vis $name:ident {
            $($field:ident: $type:ty [$($versions:tt)+] $(nullable [$($nullable:tt)+])? $(= $default:expr)?,)*
        }
        $(tagged {
            $($tag:literal $tagged:ident: $tagged_type:ty [$($tagged_versions:tt)+] $(= $tagged_default:expr)?,)*
        })?
        $(key $key:ident, versions $first:literal..=$last:literal, flexible $flexible:literal.. $(, response $response:ident)?)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $visibility struct $name {
            $(
                #[doc = concat!("Versions ", stringify!($($versions)+), $(", null in ", stringify!($($nullable)+),)? $(", by default ", stringify!($default),)? ".")]
                $visibility $field: $type,
            )*
            $($(
                #[doc = concat!("Tag ", stringify!($tag), ", versions ", stringify!($($tagged_versions)+), $(", by default ", stringify!($tagged_default),)? ".")]
                $visibility $tagged: $tagged_type,
            )*)?
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    $($field: $crate::wire::default_of!($($default)?),)*
                    $($($tagged: $crate::wire::default_of!($($tagged_default)?),)*)?
                }
            }
        }

        impl $crate::wire::Wire for $name {
            fn read(reader: &mut $crate::Reader, at: $crate::wire::At) -> Result<Self, $crate::DecodeError> {
                #[allow(unused_mut, reason = "a struct may have no field in common with the others")]
                let mut message = Self::default();
                $(
                    if $crate::wire::has!(at.version, $($versions)+) {
                        let at = $crate::wire::At { nullable: $crate::wire::nullable!(at.version $(, $($nullable)+)?), ..at };
                        message.$field = $crate::wire::Wire::read(reader, at)?;
                    }
                )*
                if at.flexible {
                    reader.tagged_fields(|_reader, tag| match tag {
                        $($(
                            $tag if $crate::wire::has!(at.version, $($tagged_versions)+) => {
                                message.$tagged = $crate::wire::Wire::read(_reader, $crate::wire::At { nullable: true, ..at })?;
                                Ok(true)
                            }
                        )*)?
                        _ => Ok(false),
                    })?;
                }
                Ok(message)
            }

            fn write(&self, writer: &mut $crate::Writer, at: $crate::wire::At) -> Result<(), $crate::EncodeError> {
                $(
                    if $crate::wire::has!(at.version, $($versions)+) {
                        let at = $crate::wire::At { nullable: $crate::wire::nullable!(at.version $(, $($nullable)+)?), ..at };
                        $crate::wire::Wire::write(&self.$field, writer, at)?;
                    }
                )*
                if at.flexible {
                    $($(
                        let $tagged: $tagged_type = $crate::wire::default_of!($($tagged_default)?);
                        let $tagged = $crate::wire::has!(at.version, $($tagged_versions)+) && self.$tagged != $tagged;
                    )*)?
                    writer.unsigned_varint(0 $($(+ u32::from($tagged))*)?);
                    $($(
                        if $tagged {
                            let at = $crate::wire::At { nullable: true, ..at };
                            writer.tagged_field($tag, |writer| $crate::wire::Wire::write(&self.$tagged, writer, at))?;
                        }
                    )*)?
                }
                Ok(())
            }
        }

        #[cfg(test)]
        impl $crate::wire::any::Any for $name {
            fn any(dice: &mut $crate::wire::any::Dice, at: $crate::wire::At) -> Self {
                let mut message = Self::default();
                $(
                    if $crate::wire::has!(at.version, $($versions)+) {
                        let at = $crate::wire::At { nullable: $crate::wire::nullable!(at.version $(, $($nullable)+)?), ..at };
                        message.$field = $crate::wire::any::Any::any(dice, at);
                    }
                )*
                $($(
                    if $crate::wire::has!(at.version, $($tagged_versions)+) {
                        message.$tagged = $crate::wire::any::Any::any(dice, $crate::wire::At { nullable: true, ..at });
                    }
                )*)?
                message
            }
        }

        $(
            // The header of a frame is read by the table of keys, the message after it by this one.
            const _: () = assert!(
                $crate::ApiKey::$key.is_flexible($flexible) && !$crate::ApiKey::$key.is_flexible($flexible - 1),
                "the table of keys says otherwise"
            );

            impl $crate::Message for $name {
                const KEY: $crate::ApiKey = $crate::ApiKey::$key;
                const VERSIONS: std::ops::RangeInclusive<i16> = $first..=$last;

                fn read(reader: &mut $crate::Reader, version: i16) -> Result<Self, $crate::DecodeError> {
                    if !Self::VERSIONS.contains(&version) {
                        return Err($crate::DecodeError::Version { api_key: Self::KEY, version });
                    }
                    let at = $crate::wire::At { version, flexible: version >= $flexible, nullable: false };
                    let message = $crate::wire::Wire::read(reader, at)?;
                    reader.finish()?;
                    Ok(message)
                }

                fn write(&self, writer: &mut $crate::Writer, version: i16) -> Result<(), $crate::EncodeError> {
                    if !Self::VERSIONS.contains(&version) {
                        return Err($crate::EncodeError::Version { api_key: Self::KEY, version });
                    }
                    let at = $crate::wire::At { version, flexible: version >= $flexible, nullable: false };
                    $crate::wire::Wire::write(self, writer, at)
                }
            }

            $(
                impl $crate::Request for $name {
                    type Response = $response;
                }
            )?
        )?
    };
}

/// Whether a version is among those of a field.
macro_rules! has {
    ($version:expr, 0..) => {
        true
    };
    ($version:expr, $($versions:tt)+) => {
        ($($versions)+).contains(&$version)
    };
}

/// Whether a field may be null in a version: always, unless its row says in which.
macro_rules! nullable {
    ($version:expr) => {
        true
    };
    ($version:expr, $($versions:tt)+) => {
        ($($versions)+).contains(&$version)
    };
}

macro_rules! default_of {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

pub(crate) use {default_of, has, message, nullable};
