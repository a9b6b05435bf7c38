//! Numbers of payment cards: 13 to 19 digits that start as an issuer's do and have a valid Luhn checksum.

/// Fewest and most digits of a card number.
pub(super) const MIN_DIGITS: usize = 13;
const MAX_DIGITS: usize = 19;

/// Most separators between two of them.
const MAX_GAP_BYTES: usize = 3;

/// Whether a byte may stand between the digits of one number.
pub(super) fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'_' | b'+' | b'#' | b'&' | b'\'' | b'(' | b')')
}

/// Whether a card number is in the text, also with other digits before or behind it.
pub(super) fn found(text: &[u8]) -> bool {
    let mut run = Run::default();
    for byte in text {
        match byte {
            b'0'..=b'9' => run.push(byte - b'0'),
            _ if is_separator(*byte) && run.gap < MAX_GAP_BYTES => run.gap += 1,
            _ => {
                if run.has_card() {
                    return true;
                }
                run = Run::default();
            }
        }
    }
    run.has_card()
}

/// Digits with a few separators, of one kind or several, between them.
#[derive(Default)]
struct Run {
    digits: Vec<u8>,
    /// Where groups start: in front of them is no digit.
    starts: Vec<usize>,
    /// Separators behind the last digit.
    gap: usize,
}

impl Run {
    fn push(&mut self, digit: u8) {
        if self.gap > 0 || self.digits.is_empty() {
            self.starts.push(self.digits.len());
        }
        self.gap = 0;
        self.digits.push(digit);
    }

    /// Looks at every stretch of the right length that starts or ends where a group does.
    fn has_card(&self) -> bool {
        let end = self.digits.len();
        if end < MIN_DIGITS {
            return false;
        }
        let sums = self.sums();
        let is_card = |from: usize, to: usize| {
            // The last digit counts as it is, every second one before it double.
            let sums = &sums[(to - 1) % 2];
            has_issuer(&self.digits[from..]) && (sums[to] - sums[from]).is_multiple_of(10)
        };
        let lengths = MIN_DIGITS..=MAX_DIGITS;
        let ends = self.starts.iter().skip(1).copied().chain([end]);
        self.starts.iter().any(|from| lengths.clone().any(|length| from + length <= end && is_card(*from, from + length)))
            || ends.into_iter().any(|to| lengths.clone().any(|length| length <= to && is_card(to - length, to)))
    }

    /// Sums of the digits before each place, with those at odd places doubled, and with those at even ones.
    fn sums(&self) -> [Vec<u64>; 2] {
        [0, 1].map(|plain| {
            let mut sums = vec![0];
            let mut sum = 0;
            for (at, digit) in self.digits.iter().enumerate() {
                let digit = u64::from(*digit);
                sum += match (at % 2 == plain, digit) {
                    (true, digit) => digit,
                    (false, 5..) => digit * 2 - 9,
                    (false, digit) => digit * 2,
                };
                sums.push(sum);
            }
            sums
        })
    }
}

/// Whether an issuer's numbers start so: 3 to 6, and 22 to 27. Times in milliseconds (1…) and dates (20…) do not.
fn has_issuer(digits: &[u8]) -> bool {
    matches!(digits, [3..=6, ..] | [2, 2..=7, ..])
}
