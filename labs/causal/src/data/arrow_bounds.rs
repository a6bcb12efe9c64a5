//! What an Arrow IPC file says of its own lengths, checked before anything is read by them: the
//! reader allocates what a message asks for, and a message may ask for anything.

use arrow_ipc::{Block, Message, RecordBatch, root_as_footer, root_as_message};

/// Bytes that the compressed buffers of a file may become.
const UNCOMPRESSED_BYTES_MAX: u64 = 2 << 30;
/// Footer length and magic.
const TRAILER_BYTES: usize = 10;
/// Continuation marker and length of a message.
const PREFIX_BYTES: usize = 8;

/// Checks a file with a footer; an error says what is wrong.
pub(super) fn check_file(bytes: &[u8]) -> Result<(), String> {
    let trailer = bytes
        .len()
        .checked_sub(TRAILER_BYTES)
        .ok_or("it is cut short")?;
    let length = int(&bytes[trailer..]).ok_or("it has no footer")?;
    let start = trailer
        .checked_sub(length)
        .ok_or("its footer is longer than the file")?;
    let footer = root_as_footer(&bytes[start..trailer]).map_err(|error| error.to_string())?;
    let mut left = UNCOMPRESSED_BYTES_MAX;
    let dictionaries = footer.dictionaries().into_iter().flatten();
    for block in dictionaries.chain(footer.recordBatches().into_iter().flatten()) {
        check_block(bytes, block, &mut left).ok_or("a block is damaged or too large")?;
    }
    Ok(())
}

fn check_block(bytes: &[u8], block: &Block, left: &mut u64) -> Option<()> {
    let start = usize::try_from(block.offset()).ok()?;
    let head = usize::try_from(block.metaDataLength()).ok()?;
    let body = usize::try_from(block.bodyLength()).ok()?;
    let message = bytes.get(start..)?.get(..head)?.get(PREFIX_BYTES..)?;
    let body = bytes.get(start + head..)?.get(..body)?;
    check_message(root_as_message(message).ok()?, body, left)
}

/// Checks a stream of messages; an error says what is wrong.
pub(super) fn check_stream(bytes: &[u8]) -> Result<(), String> {
    let mut left = UNCOMPRESSED_BYTES_MAX;
    let mut rest = bytes;
    while !rest.is_empty() {
        match next(rest, &mut left).ok_or("a message is damaged or too large")? {
            0 => return Ok(()),
            read => rest = &rest[read..],
        }
    }
    Ok(())
}

/// The bytes of the first message; 0 at the end.
fn next(bytes: &[u8], left: &mut u64) -> Option<usize> {
    let head = int(bytes.get(4..)?)?;
    if head == 0 {
        return Some(0);
    }
    let message = bytes.get(PREFIX_BYTES..)?.get(..head)?;
    let message = root_as_message(message).ok()?;
    let length = usize::try_from(message.bodyLength()).ok()?;
    let body = bytes.get(PREFIX_BYTES + head..)?.get(..length)?;
    check_message(message, body, left)?;
    Some(PREFIX_BYTES + head + length)
}

fn check_message(message: Message<'_>, body: &[u8], left: &mut u64) -> Option<()> {
    let dictionary = message.header_as_dictionary_batch();
    let batch = message
        .header_as_record_batch()
        .or_else(|| dictionary.and_then(|dictionary| dictionary.data()));
    match batch {
        Some(batch) if batch.compression().is_some() => check_compressed(batch, body, left),
        Some(_) | None => Some(()),
    }
}

/// A compressed buffer begins with the length of its content, or -1 when it is not compressed.
fn check_compressed(batch: RecordBatch<'_>, body: &[u8], left: &mut u64) -> Option<()> {
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        let buffer = body.get(start..)?.get(..length)?;
        let Some(prefix) = buffer.first_chunk() else {
            continue;
        };
        match i64::from_le_bytes(*prefix) {
            -1 => {}
            length => *left = left.checked_sub(u64::try_from(length).ok()?)?,
        }
    }
    Some(())
}

/// A length of four bytes that is not negative.
fn int(bytes: &[u8]) -> Option<usize> {
    usize::try_from(i32::from_le_bytes(*bytes.first_chunk()?)).ok()
}
