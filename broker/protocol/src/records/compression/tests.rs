//! Each codec against the same rules: what it wrote it reads, whole or not at all, and never beyond the limit.

use std::io::Write;

use ::zstd::stream::write::Encoder as ZstdEncoder;
use bytes::Bytes;
use flate2::GzBuilder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// Enough for anything these tests compress.
const AMPLE: usize = 8 << 20;

/// What a codec may hold beside its output: gzip's window and tables, some 45 KiB, and the three optional fields of its
/// header at 64 KiB each. (Zstd's context is C's and not counted.)
const BESIDE: usize = 256 << 10;

fn decompress(codec: Compression, body: &[u8], limit: usize) -> Result<Bytes, BatchError> {
    codec.decompress(&Chunks::from(Bytes::copy_from_slice(body)), limit)
}

/// Text that compresses, but not to nothing, and spans several blocks of every codec.
fn text(len: usize) -> Vec<u8> {
    (0u32..)
        .flat_map(|n| format!("event {} of {};", n, n.wrapping_mul(2_654_435_761) >> 16).into_bytes())
        .take(len)
        .collect()
}

fn lz4_frame(info: FrameInfo, records: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(records).expect("memory");
    encoder.finish().expect("memory")
}

#[track_caller]
fn check(case: &str, codec: Compression, body: &[u8], records: &[u8]) {
    let whole = Chunks::from(Bytes::copy_from_slice(body));
    let cost = allocation_counter::measure(|| {
        assert_eq!(codec.decompress(&whole, AMPLE).as_deref(), Ok(records), "{case}");
    });
    assert!(cost.bytes_max <= (AMPLE + BESIDE) as u64, "{case}: {cost:?}");
    assert_eq!(decompress(codec, body, records.len()).as_deref(), Ok(records), "{case}, at the limit");
    if let Some(limit) = records.len().checked_sub(1) {
        assert_eq!(decompress(codec, body, limit), Err(BatchError::TooLarge { limit }), "{case}, one over the limit");
    }
}

#[test]
fn what_other_writers_write_is_read() {
    let short = text(100);
    let long = text(200_000);
    let zeroes = vec![0; 3 << 20];

    for codec in CODECS {
        for records in [&short, &long, &zeroes] {
            check("our own", codec, &codec.compress(records.clone()), records);
        }
    }

    let two_members = [Compression::Gzip.compress(short.clone()), Compression::Gzip.compress(long.clone())].concat();
    check("gzip of two members", Compression::Gzip, &two_members, &[&short[..], &long].concat());

    let field = vec![b'a'; 60_000];
    let described = GzBuilder::new().extra(&*field).filename(&*field).comment(&*field);
    let mut described = described.write(Vec::new(), flate2::Compression::new(1));
    described.write_all(&short).expect("memory");
    check("gzip with every field in its header", Compression::Gzip, &described.finish().expect("memory"), &short);

    let bare = snap::raw::Encoder::new().compress_vec(&long).expect("fits");
    check("bare snappy, as librdkafka writes it", Compression::Snappy, &bare, &long);

    let frame = FrameInfo::new().block_size(BlockSize::Max64KB);
    let linked = lz4_frame(frame.clone().block_mode(BlockMode::Linked), &long);
    check("lz4 of linked blocks", Compression::Lz4, &linked, &long);
    let checked = lz4_frame(frame.clone().block_checksums(true).content_checksum(true), &long);
    check("lz4 with checksums", Compression::Lz4, &checked, &long);
    let sized = lz4_frame(frame.content_size(Some(long.len() as u64)), &long);
    check("lz4 with its size", Compression::Lz4, &sized, &long);
    let wide = lz4_frame(FrameInfo::new().block_size(BlockSize::Max4MB), &zeroes);
    check("lz4 in blocks of 4 MiB, as Go clients write it", Compression::Lz4, &wide, &zeroes);

    let mut sizeless = ZstdEncoder::new(Vec::new(), 3).expect("a level");
    sizeless.write_all(&long).expect("memory");
    check("zstd without its size, as Java writes it", Compression::Zstd, &sizeless.finish().expect("memory"), &long);
    let mut wide_window = ZstdEncoder::new(Vec::new(), 22).expect("a level");
    wide_window.write_all(&long).expect("memory");
    check("zstd at level 22, its window 128 MiB", Compression::Zstd, &wide_window.finish().expect("memory"), &long);
}

#[test]
fn bytes_that_do_not_compress_are_stored() {
    let noise: Vec<u8> =
        (0u32..200_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (n >> 3) as u8).collect();
    for codec in CODECS {
        check(codec.name(), codec, &codec.compress(noise.clone()), &noise);
    }
}

#[test]
fn every_truncation_is_an_error() {
    let records = text(200).repeat(350);
    for codec in CODECS {
        let body = codec.compress(records.clone());
        for len in 0..body.len() {
            // A Java snappy body cut between its blocks is a whole one of fewer; the count of records finds it.
            let outcome = decompress(codec, &body[..len], AMPLE);
            let whole_blocks =
                codec == Compression::Snappy && outcome.as_ref().is_ok_and(|cut| records.starts_with(cut));
            assert!(outcome.is_err() || whole_blocks, "{codec} cut at {len} of {}", body.len());
        }
    }
}

#[test]
fn bytes_after_the_end_are_an_error() {
    for codec in CODECS {
        let body = [&codec.compress(text(500))[..], b"more"].concat();
        let outcome = decompress(codec, &body, AMPLE);
        assert!(matches!(outcome, Err(BatchError::Decompress { .. })), "{codec}: {outcome:?}");
    }
}

#[test]
fn sizes_that_lie_get_no_memory() {
    #[track_caller]
    fn refused(codec: Compression, body: &[u8]) {
        let outcome = decompress(codec, body, AMPLE);
        assert!(matches!(outcome, Err(BatchError::Decompress { .. })), "{codec}: {outcome:?}");
    }
    // Snappy: a block of 5 bytes that claims 4 MiB.
    refused(Compression::Snappy, &[0x80, 0x80, 0x80, 0x02, 0x00]);
    refused(
        Compression::Snappy,
        &[&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05"[..], &[0x80, 0x80, 0x80, 0x02, 0]].concat(),
    );
    refused(Compression::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff");
    refused(Compression::Snappy, b"\x82SNAPPY\0\0\0\0\x02\0\0\0\x01");
    // Gzip: the trailer's size changed.
    let mut body = Compression::Gzip.compress(text(500)).to_vec();
    let at = body.len() - 4;
    body[at..].copy_from_slice(&(4u32 << 20).to_le_bytes());
    refused(Compression::Gzip, &body);
    // LZ4: the frame's size, and a header checksum that is right for it.
    let mut unfinished = FrameEncoder::with_frame_info(FrameInfo::new().content_size(Some(4 << 20)), Vec::new());
    unfinished.write_all(b"short").expect("memory");
    unfinished.flush().expect("memory");
    refused(Compression::Lz4, &[&unfinished.into_inner()[..], &[0; 4]].concat());
    // Zstd: beyond the limit by its own account.
    let body = Compression::Zstd.compress(vec![0; 4 << 20]);
    assert_eq!(decompress(Compression::Zstd, &body, 1 << 20), Err(BatchError::TooLarge { limit: 1 << 20 }));
}

#[test]
fn names_and_ids_are_kafkas() {
    let names: Vec<_> = Compression::ALL.iter().map(|codec| (codec.id(), codec.name())).collect();
    assert_eq!(names, [(0, "none"), (1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")]);
    assert_eq!(Compression::from_id(4), Some(Compression::Zstd));
    assert_eq!(Compression::from_id(5), None);
}

/// Writes `len` zeroes through an encoder without holding them.
fn zeroes_through(mut encoder: impl Write, len: usize) {
    let block = [0; 64 * 1024];
    for _ in 0..len / block.len() {
        encoder.write_all(&block).expect("memory");
    }
    encoder.flush().expect("memory");
}

#[test]
fn a_gibibyte_stops_at_the_limit() {
    const GIBIBYTE: usize = 1 << 30;
    const LIMIT: usize = 1 << 20;

    let mut zstd = ZstdEncoder::new(Vec::new(), 1).expect("a level");
    zeroes_through(&mut zstd, GIBIBYTE);
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    zeroes_through(&mut gzip, GIBIBYTE / 16);
    let mut lz4 = FrameEncoder::new(Vec::new());
    zeroes_through(&mut lz4, GIBIBYTE / 16);
    let java_block = &Compression::Snappy.compress(vec![0; 32 * 1024])[16..];
    let snappy = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &java_block.repeat(GIBIBYTE / 16 / (32 * 1024))].concat();

    for (codec, body) in [
        (Compression::Zstd, zstd.finish().expect("memory")),
        (Compression::Gzip, gzip.finish().expect("memory")),
        (Compression::Lz4, lz4.finish().expect("memory")),
        (Compression::Snappy, snappy),
    ] {
        let body = Chunks::from(Bytes::from(body));
        let cost = allocation_counter::measure(|| {
            assert_eq!(codec.decompress(&body, LIMIT), Err(BatchError::TooLarge { limit: LIMIT }), "{codec}");
        });
        assert!(cost.bytes_max <= (LIMIT + BESIDE) as u64, "{codec}: {cost:?}");
    }
}

proptest! {
    #[test]
    fn round_trips_from_any_pieces(
        words in prop::collection::vec("[a-f]{0,9}", 0..400),
        piece in 1usize..50,
    ) {
        let records = words.concat().into_bytes();
        for codec in Compression::ALL {
            let body = codec.compress(records.clone());
            let pieces: Chunks = body.chunks(piece).map(Bytes::copy_from_slice).collect();
            let read = codec.decompress(&pieces, records.len());
            prop_assert_eq!(read.as_deref(), Ok(&records[..]));
        }
    }

    #[test]
    fn arbitrary_bytes_never_pass_the_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        flip in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        const LIMIT: usize = 4096;
        for codec in Compression::ALL {
            let mut body = codec.compress(text(2000)).to_vec();
            let at = flip.index(body.len());
            body[at] ^= 1 << bit;
            for body in [&bytes, &body] {
                let body = Chunks::from(Bytes::copy_from_slice(body));
                let mut len = 0;
                let cost = allocation_counter::measure(|| len = codec.decompress(&body, LIMIT).map_or(0, |records| records.len()));
                prop_assert!(len <= LIMIT);
                prop_assert!(cost.bytes_max <= (LIMIT + BESIDE) as u64, "{codec}: {cost:?}");
            }
        }
    }
}
