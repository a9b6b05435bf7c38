//! Looks for planted texts in everything that a test can get hold of: as they are, in upper and lower case, and in the encodings in which
//! software carries text on, also inside gzip, and in every value of an SQLite database.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use aho_corasick::AhoCorasick;
use flate2::read::GzDecoder;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::backend::Backend;
use crate::serve::Serve;

/// Most bytes that one gzip member may unpack to here.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;
/// How many times gzip may be inside gzip.
const MAX_GZIP_DEPTH: usize = 3;
/// A shorter text would be found by chance.
const MIN_MARKER_CHARS: usize = 8;
/// The same for bytes of any value, which texts do not have by chance.
const MIN_BYTES: usize = 5;
/// How a gzip member starts: magic number and the only compression method.
const GZIP_START: [u8; 3] = [0x1f, 0x8b, 0x08];
/// How an SQLite database starts.
const SQLITE_START: &[u8] = b"SQLite format 3\0";
/// How long to wait for another connection's lock.
const SQLITE_BUSY: Duration = Duration::from_secs(5);

/// A scanner for a list of planted texts.
pub struct Scanner {
    needles: AhoCorasick,
    names: Vec<(String, &'static str)>,
    findings: Vec<String>,
    scanned_bytes: u64,
    scanned_databases: u64,
}

impl Scanner {
    /// A scanner for these texts.
    pub fn new<T: AsRef<str>>(markers: impl IntoIterator<Item = T>) -> Self {
        Self::with_bytes(markers, [])
    }

    /// A scanner for these texts, and for bytes that are no text, each with a name for the report.
    pub fn with_bytes<T: AsRef<str>>(
        markers: impl IntoIterator<Item = T>,
        bytes: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Self {
        let mut patterns = Vec::new();
        let mut names = Vec::new();
        for (name, bytes) in bytes {
            assert!(bytes.len() >= MIN_BYTES, "so few bytes would be found by chance: {name}");
            patterns.push(bytes);
            names.push((name, "bytes"));
        }
        for marker in markers {
            let marker = marker.as_ref();
            assert!(marker.chars().count() >= MIN_MARKER_CHARS, "a marker this short would be found by chance: {marker}");
            for (encoding, bytes) in encodings(marker) {
                patterns.push(bytes);
                names.push((marker.to_owned(), encoding));
            }
        }
        assert!(!patterns.is_empty(), "a scan for nothing proves nothing");
        let needles = AhoCorasick::new(patterns).expect("a few thousand short patterns");
        Self { needles, names, findings: Vec::new(), scanned_bytes: 0, scanned_databases: 0 }
    }

    /// Scans bytes; `place` says in the report where they come from.
    pub fn bytes(&mut self, place: &str, bytes: &[u8]) {
        self.scan(place, bytes, 0);
    }

    /// Scans every file under a folder, names included; of databases also every value.
    pub fn folder(&mut self, folder: &Path) {
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder to scan") {
                let path = entry.expect("an entry of the folder").path();
                let place = path.display().to_string();
                self.bytes("a file's name", place.as_bytes());
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    // A file can go away between the listing and the reading: a database's shared memory does, when it closes.
                    self.bytes(&place, &bytes);
                    if bytes.starts_with(SQLITE_START) {
                        self.database(&path).unwrap_or_else(|error| panic!("{place} cannot be read: {error}"));
                    }
                }
            }
        }
    }

    /// Scans every value of every table, numbers as text. In the file, a long value is in pieces, each on a page of its own: a text that goes
    /// from one to the next is not in the file's bytes as it is.
    fn database(&mut self, path: &Path) -> rusqlite::Result<()> {
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        database.busy_timeout(SQLITE_BUSY)?;
        let tables = "SELECT name FROM sqlite_schema WHERE type = 'table' UNION VALUES ('sqlite_schema')";
        let tables: Vec<String> = database.prepare(tables)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for table in tables {
            let place = format!("{}, table {table}", path.display());
            let mut statement = database.prepare(&format!("SELECT * FROM \"{table}\""))?;
            let columns = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for column in 0..columns {
                    match row.get_ref(column)? {
                        ValueRef::Null => {}
                        ValueRef::Integer(number) => self.bytes(&place, number.to_string().as_bytes()),
                        ValueRef::Real(number) => self.bytes(&place, format!("{number:?}").as_bytes()),
                        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => self.bytes(&place, bytes),
                    }
                }
            }
        }
        self.scanned_databases += 1;
        Ok(())
    }

    /// Scans all that a `serve` leaves: its data folder while it runs and after it has ended, what was forwarded, and what it printed.
    ///
    /// # Panics
    /// If it does not end as it should, or if there is no database in its data folder.
    pub fn everything_of(&mut self, serve: &mut Serve, data_dir: &Path, backend: &Backend) {
        self.folder(data_dir);
        assert!(serve.terminate().success());
        self.folder(data_dir);
        assert_eq!(self.scanned_databases, 2, "the store is a database, while it runs and afterwards");
        backend.recorded().iter().for_each(|request| self.bytes("forwarded", &request.everything()));
        self.bytes("standard output", serve.stdout().as_bytes());
        self.bytes("standard error", serve.stderr().as_bytes());
    }

    /// What was found, one line each: where, which text, in which encoding.
    #[must_use]
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Ends the scan.
    ///
    /// # Panics
    /// If anything was found, or if nothing was scanned.
    pub fn assert_clean(&self) {
        assert!(self.scanned_bytes > 0, "nothing was scanned");
        assert!(self.findings.is_empty(), "{} leaks:\n{}", self.findings.len(), self.findings.join("\n"));
    }

    fn scan(&mut self, place: &str, bytes: &[u8], depth: usize) {
        self.scanned_bytes += bytes.len() as u64;
        for hit in self.needles.find_overlapping_iter(bytes) {
            let (marker, encoding) = &self.names[hit.pattern().as_usize()];
            let finding = format!("{place}: {marker} ({encoding})");
            if !self.findings.contains(&finding) {
                self.findings.push(finding);
            }
        }
        if depth == MAX_GZIP_DEPTH {
            return;
        }
        for at in 0..bytes.len().saturating_sub(GZIP_START.len()) {
            if bytes[at..].starts_with(&GZIP_START) {
                let mut unpacked = Vec::new();
                // What comes before an error counts: a member may be cut off, or followed by something else.
                let _ = GzDecoder::new(&bytes[at..]).take(MAX_UNPACKED_BYTES).read_to_end(&mut unpacked);
                if !unpacked.is_empty() {
                    self.scan(&format!("{place} (gzip at {at})"), &unpacked, depth + 1);
                }
            }
        }
    }
}

/// The text in every encoding that is looked for. Encodings that leave it as it is are there once.
fn encodings(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut all: Vec<(&'static str, Vec<u8>)> = vec![
        ("raw", text.as_bytes().to_vec()),
        ("lower case", text.to_lowercase().into_bytes()),
        ("upper case", text.to_uppercase().into_bytes()),
        ("hexadecimal", hex(text, |b| format!("{b:02x}"))),
        ("hexadecimal", hex(text, |b| format!("{b:02X}"))),
        ("percent-encoded", percent(text, false)),
        ("percent-encoded, all of it", percent(text, true)),
        ("form-encoded", String::from_utf8(percent(text, false)).expect("ASCII").replace("%20", "+").into_bytes()),
        ("JSON", json(text, false)),
        ("JSON, ASCII only", json(text, true)),
        ("JSON in JSON", json(&String::from_utf8(json(text, false)).expect("UTF-8"), false)),
        ("UTF-16 little-endian", text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("UTF-16 big-endian", text.encode_utf16().flat_map(u16::to_be_bytes).collect()),
        ("decimal bytes", text.bytes().map(|b| b.to_string()).collect::<Vec<_>>().join(",").into_bytes()),
        ("Rust debug", format!("{text:?}").trim_matches('"').as_bytes().to_vec()),
    ];
    for phase in 0..3 {
        all.push(("base64", base64_core(text.as_bytes(), phase, STANDARD)));
        all.push(("base64url", base64_core(text.as_bytes(), phase, URL_SAFE)));
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|(_, bytes)| seen.insert(bytes.clone()));
    all
}

/// The base64 digits that stand for `bytes` alone, when `phase` other bytes (modulo 3) come before them: the digits at both ends, which
/// also hold bits of the neighbours, are left out.
fn base64_core(bytes: &[u8], phase: usize, digits: &[u8; 64]) -> Vec<u8> {
    let bits: Vec<bool> = std::iter::repeat_n(0, phase)
        .chain(bytes.iter().copied())
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    let first = (phase * 8).div_ceil(6);
    let value = |six: &[bool]| six.iter().fold(0, |value, bit| value << 1 | usize::from(*bit));
    bits.chunks_exact(6).skip(first).map(|six| digits[value(six)]).collect()
}

fn hex(text: &str, digits: impl Fn(u8) -> String) -> Vec<u8> {
    text.bytes().map(digits).collect::<String>().into_bytes()
}

fn percent(text: &str, all: bool) -> Vec<u8> {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if !all && (byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("a string takes all");
        }
    }
    encoded.into_bytes()
}

fn json(text: &str, ascii: bool) -> Vec<u8> {
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    let mut encoded = String::new();
    for character in quoted[1..quoted.len() - 1].chars() {
        if ascii && !character.is_ascii() {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(encoded, "\\u{unit:04x}").expect("a string takes all");
            }
        } else {
            encoded.push(character);
        }
    }
    encoded.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A text in which every encoding differs: a quote, a space, a slash, letters of other scripts.
    const MARKER: &str = "Prömpt \"zq7\"/Пароль?~>";

    fn found(bytes: &[u8]) -> Vec<String> {
        let mut scanner = Scanner::new([MARKER, "never planted"]);
        scanner.bytes("here", bytes);
        scanner.findings().to_vec()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Guarantees: a planted text is found in every encoding, in the middle of other bytes, so that an empty report means something.
    /// The encoded forms come from Python 3's `base64`, `binascii`, `urllib.parse` and `json`.
    #[test]
    fn a_planted_text_is_found() {
        let encoded: &[(&str, &[u8])] = &[
            ("raw", MARKER.as_bytes()),
            ("lower case", "prömpt \"zq7\"/пароль?~>".as_bytes()),
            ("base64", b"data:;base64,UHLDtm1wdCAienE3Ii/Qn9Cw0YDQvtC70Yw/fj4=".as_slice()),
            ("base64", b"eFByw7ZtcHQgInpxNyIv0J/QsNGA0L7Qu9GMP34+eXk=".as_slice()),
            ("base64", b"eHhQcsO2bXB0ICJ6cTciL9Cf0LDRgNC+0LvRjD9+Pnl5".as_slice()),
            ("base64url", b"eFByw7ZtcHQgInpxNyIv0J_QsNGA0L7Qu9GMP34-eXk=".as_slice()),
            ("hexadecimal", b"aa5072c3b66d707420227a7137222fd09fd0b0d180d0bed0bbd18c3f7e3eaa".as_slice()),
            ("percent-encoded", b"q=Pr%C3%B6mpt%20%22zq7%22%2F%D0%9F%D0%B0%D1%80%D0%BE%D0%BB%D1%8C%3F~%3E&x".as_slice()),
            ("form-encoded", b"q=Pr%C3%B6mpt+%22zq7%22%2F%D0%9F%D0%B0%D1%80%D0%BE%D0%BB%D1%8C%3F~%3E&x".as_slice()),
            ("JSON", "{\"a\":\"Prömpt \\\"zq7\\\"/Пароль?~>\"}".as_bytes()),
            ("JSON, ASCII only", b"\"Pr\\u00f6mpt \\\"zq7\\\"/\\u041f\\u0430\\u0440\\u043e\\u043b\\u044c?~>\"".as_slice()),
        ];
        for (encoding, bytes) in encoded {
            let findings = found(bytes);
            assert!(findings.iter().any(|f| f.ends_with(&format!("({encoding})"))), "{encoding}: {findings:?}");
            assert!(!found(&gzip(bytes)).is_empty(), "{encoding} in gzip");
        }
    }

    /// Guarantees: text in UTF-16 and gzip in gzip, behind other bytes and cut off at the end, are found too.
    #[test]
    fn a_hidden_text_is_found() {
        let utf16: Vec<u8> = MARKER.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert!(!found(&utf16).is_empty());
        let mut twice = b"header".to_vec();
        twice.extend(gzip(&gzip(MARKER.as_bytes())));
        assert!(!found(&twice).is_empty());
        let mut long = MARKER.as_bytes().to_vec();
        long.extend((0..200_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()));
        let packed = gzip(&long);
        assert!(!found(&packed[..packed.len() / 2]).is_empty());
    }

    /// Guarantees: files are found in folders of folders.
    #[test]
    fn a_planted_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/store.sqlite-wal"), gzip(MARKER.as_bytes())).unwrap();
        let mut scanner = Scanner::new([MARKER]);
        scanner.folder(folder.path());
        assert_eq!(scanner.findings().len(), 1);
    }

    /// Guarantees: in a database, a text is found wherever in a long value it stands, as text or as bytes, and a number as its digits; also
    /// while another connection is writing. What the file has as it is, is not all of them.
    #[test]
    fn a_text_over_two_pages_of_a_database_is_found() {
        const STEP_BYTES: usize = 64;
        // Longer than a step, so that wherever a page ends, it ends inside one of them; and longer than a page is the value.
        let markers: Vec<String> = (0..100).map(|at| format!("{at:03}-{}", "planted".repeat(12))).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("some.db");
        let database = Connection::open(&path).unwrap();
        database.pragma_update(None, "page_size", 4096).unwrap();
        database.execute_batch("CREATE TABLE \"a table\" (value, number)").unwrap();
        for (at, marker) in markers.iter().enumerate() {
            let mut value = "-".repeat(7_000);
            value.replace_range(at * STEP_BYTES..at * STEP_BYTES + marker.len(), marker);
            let insert = "INSERT INTO \"a table\" VALUES (iif(?2 % 2, ?1, CAST(?1 AS BLOB)), 1234567890123 + ?2)";
            database.execute(insert, rusqlite::params![value, u32::try_from(at).unwrap()]).unwrap();
        }
        let mut raw = Scanner::new(&markers);
        raw.bytes("the file", &std::fs::read(&path).unwrap());
        assert!((1..markers.len()).contains(&raw.findings().len()), "{:?}", raw.findings());
        let mut scanner = Scanner::new(&markers);
        scanner.folder(folder.path());
        let in_table = |scanner: &Scanner| scanner.findings().iter().filter(|finding| finding.contains("a table: ")).count();
        assert_eq!(in_table(&scanner), markers.len());
        database.pragma_update(None, "journal_mode", "wal").unwrap();
        database.execute("UPDATE \"a table\" SET number = number + 1000 WHERE number = 1234567890124", []).unwrap();
        let mut scanner = Scanner::new(["1234567891124"]);
        scanner.folder(folder.path());
        assert_eq!(in_table(&scanner), 1, "{:?}", scanner.findings());
    }

    /// Guarantees: bytes that are no text are found as they are, and too few of them are no proof.
    #[test]
    fn planted_bytes_are_found() {
        let number = [0xef, 0xbd, 0xad, 0x9e, 0xf9];
        let mut scanner = Scanner::with_bytes(["never planted"], [("a number".to_owned(), number.to_vec())]);
        scanner.bytes("here", &[&[0x08], &number[..], &[1]].concat());
        assert_eq!(scanner.findings(), ["here: a number (bytes)"]);
        let short = || Scanner::with_bytes(["never planted"], [("a number".to_owned(), number[..4].to_vec())]);
        assert!(std::panic::catch_unwind(short).is_err());
    }

    /// Guarantees: other text is not found, and a scan of nothing is no proof.
    #[test]
    fn other_text_is_not_found() {
        assert!(found("Prömpt zq7 and then Пароль".as_bytes()).is_empty());
        assert!(std::panic::catch_unwind(|| Scanner::new([MARKER]).assert_clean()).is_err());
        assert!(std::panic::catch_unwind(|| Scanner::new(Vec::<String>::new())).is_err());
    }
}
