//! Bytes as hexadecimal digits, with their characters beside them.

use std::fmt::Write as _;

/// How many bytes a line has.
const LINE_BYTES: usize = 16;

/// The bytes in lines of 16: where the line begins, the bytes in two groups, and the characters, with a dot for each byte
/// that is no printable ASCII character.
pub(super) fn dump(bytes: &[u8]) -> String {
    let mut output = String::with_capacity(bytes.len().saturating_mul(5));
    for (number, line) in bytes.chunks(LINE_BYTES).enumerate() {
        // Writing to a string never fails.
        let _ = write!(output, "{:08x} ", number * LINE_BYTES);
        for index in 0..LINE_BYTES {
            if index == LINE_BYTES / 2 {
                output.push(' ');
            }
            let _ = match line.get(index) {
                Some(byte) => write!(output, " {byte:02x}"),
                None => write!(output, "   "),
            };
        }
        output.push_str("  ");
        output.extend(line.iter().map(|byte| match byte {
            0x20..=0x7e => char::from(*byte),
            _ => '.',
        }));
        output.push('\n');
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_sixteen_bytes() {
        assert_eq!(dump(b""), "");
        let expected = "\
00000000  7b 22 61 22 3a 00 ff 7d  31 32 33 34 35 36 37 38  {\"a\":..}12345678
00000010  3c                                                <
";
        assert_eq!(dump(b"{\"a\":\x00\xff}12345678<"), expected);
    }
}
