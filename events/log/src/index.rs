//! Which records of a segment belong to a stream. In memory while the segment is open; written
//! once, sorted, when it is sealed, with a filter that says which segments need not be asked.

use std::collections::BTreeMap;

use hindcast_model::{Seq, Stream, StreamKind, UnixMicros};

/// Bytes of one piece of a sealed index, which is a value of the store.
const PIECE_BYTES: usize = 44 * 1024;
const NONE: u32 = u32::MAX;

/// The index of one segment that may still grow.
#[derive(Debug, Clone)]
pub(crate) struct SegmentIndex {
    pub(crate) first: Seq,
    pub(crate) min_at: UnixMicros,
    pub(crate) max_at: UnixMicros,
    /// The last record of each stream, as a place in `links`.
    heads: BTreeMap<Stream, u32>,
    /// For each record the one before it in its stream.
    links: Vec<u32>,
}

impl SegmentIndex {
    pub(crate) const fn new(first: Seq) -> Self {
        Self {
            first,
            min_at: UnixMicros(u64::MAX),
            max_at: UnixMicros(0),
            heads: BTreeMap::new(),
            links: Vec::new(),
        }
    }

    /// Adds the next record of the segment.
    pub(crate) fn push(&mut self, stream: Stream, at: UnixMicros) {
        let place = u32::try_from(self.links.len()).expect("a segment holds fewer records");
        let before = self.heads.insert(stream, place).unwrap_or(NONE);
        self.links.push(before);
        self.min_at = self.min_at.min(at);
        self.max_at = self.max_at.max(at);
    }

    pub(crate) const fn count(&self) -> usize {
        self.links.len()
    }

    /// The positions of a stream's records, ascending.
    pub(crate) fn find(&self, stream: Stream) -> Vec<Seq> {
        let mut found = Vec::new();
        let mut place = self.heads.get(&stream).copied().unwrap_or(NONE);
        while place != NONE {
            found.push(Seq(self.first.0 + u64::from(place)));
            place = self.links[place as usize];
        }
        found.reverse();
        found
    }

    /// The sorted postings in pieces, each with its first stream.
    pub(crate) fn pieces(&self) -> Vec<(Stream, Vec<u8>)> {
        let mut pieces: Vec<(Stream, Vec<u8>)> = Vec::new();
        for stream in self.heads.keys() {
            for seqs in self.find(*stream).chunks(PIECE_BYTES / 8) {
                let bytes = 22 + 4 * seqs.len();
                let fits = |piece: &Vec<u8>| piece.len() + bytes <= PIECE_BYTES;
                if !pieces.last().is_some_and(|(_, piece)| fits(piece)) {
                    pieces.push((*stream, Vec::new()));
                }
                let (_, piece) = pieces.last_mut().expect("one was pushed");
                piece.extend_from_slice(&stream.kind.number().to_le_bytes());
                piece.extend_from_slice(&stream.id);
                let count = u32::try_from(seqs.len()).expect("a piece is small");
                piece.extend_from_slice(&count.to_le_bytes());
                for seq in seqs {
                    let delta = u32::try_from(seq.0 - self.first.0).expect("within a segment");
                    piece.extend_from_slice(&delta.to_le_bytes());
                }
            }
        }
        pieces
    }

    /// The filter over the segment's streams.
    pub(crate) fn filter(&self) -> Filter {
        let mut filter = Filter::with_capacity(self.heads.len());
        self.heads.keys().for_each(|stream| filter.insert(*stream));
        filter
    }
}

/// The positions of `stream` in one piece of a sealed index; `None` when the piece is damaged.
pub(crate) fn find_in_piece(piece: &[u8], first: Seq, stream: Stream) -> Option<Vec<Seq>> {
    let mut found = Vec::new();
    let mut rest = piece;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at_checked(22)?;
        let kind = StreamKind::from_number(u16::from_le_bytes([head[0], head[1]]))?;
        let id: [u8; 16] = head[2..18].try_into().ok()?;
        let count = u32::from_le_bytes(head[18..22].try_into().ok()?) as usize;
        let (postings, next) = tail.split_at_checked(count.checked_mul(4)?)?;
        if (Stream { kind, id }) == stream {
            found.extend(postings.chunks_exact(4).map(|delta| {
                let delta = u32::from_le_bytes([delta[0], delta[1], delta[2], delta[3]]);
                Seq(first.0 + u64::from(delta))
            }));
        }
        rest = next;
    }
    Some(found)
}

/// A Bloom filter over streams: ten bits for each and seven probes by double hashing (Kirsch and
/// Mitzenmacher 2006), so that about one foreign stream in a hundred passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(Vec<u8>);

impl Filter {
    fn with_capacity(streams: usize) -> Self {
        Self(vec![0; (streams * 10).div_ceil(8).max(8)])
    }

    /// The filter with these bits.
    pub(crate) const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn probes(&self, stream: Stream) -> impl Iterator<Item = (usize, u8)> + use<> {
        let half = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        // Ids share their leading time bits: mix both halves before they are used.
        let kind = u64::from(stream.kind.number());
        let a = mix(half(&stream.id[..8]) ^ kind ^ mix(half(&stream.id[8..])));
        let b = mix(a) | 1;
        let bits = self.0.len() as u64 * 8;
        (0..7).map(move |i: u64| {
            let bit = a.wrapping_add(i.wrapping_mul(b)) % bits;
            (
                usize::try_from(bit / 8).expect("within the filter"),
                1 << (bit % 8),
            )
        })
    }

    fn insert(&mut self, stream: Stream) {
        for (byte, bit) in self.probes(stream) {
            self.0[byte] |= bit;
        }
    }

    /// Whether the stream may be in; a `false` is certain.
    pub(crate) fn may_hold(&self, stream: Stream) -> bool {
        self.probes(stream)
            .all(|(byte, bit)| self.0[byte] & bit != 0)
    }
}

/// The finaliser of splitmix64.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hindcast_model::RunId;

    fn stream(n: u32) -> Stream {
        Stream::run(RunId::from_bytes(
            (0x0190_0000_u128 << 96 | u128::from(n)).to_be_bytes(),
        ))
    }

    #[test]
    fn postings_survive_sealing_in_pieces() {
        let mut index = SegmentIndex::new(Seq(1_000));
        for n in 0..30_000_u32 {
            index.push(stream(n / 3), UnixMicros(u64::from(n)));
            if n % 2 == 0 {
                index.push(Stream::system("clock"), UnixMicros(5));
            }
        }
        let pieces = index.pieces();
        assert!(pieces.iter().all(|(_, piece)| piece.len() <= PIECE_BYTES));
        for wanted in [
            stream(0),
            stream(7_777),
            stream(9_999),
            Stream::system("clock"),
        ] {
            let sealed: Vec<Seq> = pieces
                .iter()
                .flat_map(|(_, piece)| find_in_piece(piece, Seq(1_000), wanted).expect("intact"))
                .collect();
            assert_eq!(sealed, index.find(wanted));
            assert!(!sealed.is_empty());
        }
        assert_eq!(find_in_piece(&[1, 0, 3], Seq(1), stream(0)), None);
    }

    #[test]
    fn filter_passes_every_member_and_few_others() {
        let mut index = SegmentIndex::new(Seq(1));
        (0..10_000).for_each(|n| index.push(stream(n), UnixMicros(1)));
        let filter = Filter::from_bytes(index.filter().bytes().to_vec());
        assert!((0..10_000).all(|n| filter.may_hold(stream(n))));
        let passed = (10_000..30_000)
            .filter(|n| filter.may_hold(stream(*n)))
            .count();
        assert!(passed < 400, "{passed} of 20,000 foreign streams passed");
    }
}
