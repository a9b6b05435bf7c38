//! Opens the file and brings its schema up to date.
//!
//! Migrations are numbered and only ever appended: a file carries the number of the last one it had, in `user_version`, so that any older
//! file can be brought up to date, and a newer one is refused before it is touched.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// In order; the file's `user_version` is how many of them it has had.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/001_traces.sql"), include_str!("../migrations/002_policy_version.sql")];
/// Marks the file as ours: the bytes of `cxpo`.
const APPLICATION_ID: i32 = 0x6378_706f;
/// How long a connection waits for another one's lock.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// The log beside the file is cut back to this after a checkpoint.
const MAX_LOG_BYTES: i64 = 64 << 20;
/// Page cache of the writer, and of each reader.
const CACHE_KIB: i64 = 8 << 10;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened, read or written.
    #[error("cannot open the store {path}: check that its folder exists and can be written, and that the disk is not full")]
    Sqlite {
        /// The store's file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// The file is no database, or a damaged one.
    #[error("{path} is damaged, or no store at all: move it away to start with an empty store, or put a copy of it in its place")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What `SQLite` said.
        source: rusqlite::Error,
    },
    /// The file is a database of something else.
    #[error("{path} is a database of another program: name another file for the store")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error(
        "the store {path} has schema {found} and this version knows schemas up to {known}: run a newer version, or name another file"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Schema of the file.
        found: usize,
        /// Newest schema that this version knows.
        known: usize,
    },
    /// The file that locks the store cannot be created.
    #[error("cannot create {path}: check that its folder exists and can be written")]
    Lock {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("the store is in use by another process, which holds {path}: end that one, or choose another folder")]
    InUse {
        /// The file that is locked.
        path: PathBuf,
    },
    /// The writer thread could not be started.
    #[error("cannot start the store's writer: the system refuses another thread")]
    Thread(#[source] std::io::Error),
}

/// Locks the store for this process, by a file beside it. The lock ends with the process, however that ends.
pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let path = path.with_extension("lock");
    let lock = private(&path).map_err(|_| OpenError::Lock { path: path.clone() })?;
    lock.try_lock().map_err(|_| OpenError::InUse { path })?;
    Ok(lock)
}

/// Opens the file for writing, creates it if it is not there, and migrates it.
pub(crate) fn open(path: &Path) -> Result<Connection, OpenError> {
    // Where this fails, opening it with SQLite says why.
    drop(private(path));
    let mut connection = prepare(path).map_err(|source| failed(path, source))?;
    migrate(&mut connection, MIGRATIONS, path)?;
    Ok(connection)
}

/// Opens a file, and creates it for its owner alone; SQLite gives the files beside its own the same rights.
fn private(path: &Path) -> std::io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // A foreign file must stay as it is, so nothing that writes to it comes before the check in `migrate`.
    Ok(connection)
}

/// Opens the file for reading only. The writer has migrated it.
pub(crate) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(connection)
}

fn failed(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, source },
        _ => OpenError::Sqlite { path, source },
    }
}

fn migrate(connection: &mut Connection, migrations: &[&str], path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| failed(path, source);
    let application: i32 = connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sqlite)?;
    let found: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
    let tables: u64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(sqlite)?;
    let empty = application == 0 && found == 0 && tables == 0;
    if application != APPLICATION_ID && !empty {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    if found > migrations.len() {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: migrations.len() });
    }
    apply(connection, migrations, found).map_err(sqlite)
}

fn apply(connection: &mut Connection, migrations: &[&str], found: usize) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "wal")?;
    // An acknowledged message must survive a power cut, not just the end of the process.
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", MAX_LOG_BYTES)?;
    for (at, migration) in migrations.iter().enumerate().skip(found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", at + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> usize {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    /// Guarantees: a file of a newer version is refused, with both numbers, and is left as it was.
    #[test]
    fn a_newer_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        open(&path).unwrap().pragma_update(None, "user_version", 1000).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 1000, .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    /// Guarantees: another program's database is refused, and no byte of it changes.
    #[test]
    fn a_foreign_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accounts.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE accounts (name TEXT)").unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(matches!(open(&path).unwrap_err(), OpenError::Foreign { .. }));
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }

    /// Guarantees: a file that is no database, one that was cut, and a folder that is not there, are errors that name the path; a file stays as it is.
    #[test]
    fn what_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        std::fs::write(&path, "not a database, but long enough to be taken for the header of one ........................")
            .unwrap();
        let cut = folder.path().join("cut.db");
        drop(open(&cut).unwrap());
        let whole = std::fs::read(&cut).unwrap();
        std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        for path in [path, cut] {
            let before = std::fs::read(&path).unwrap();
            let error = open(&path).unwrap_err();
            assert!(matches!(error, OpenError::Damaged { .. }) && error.to_string().contains(path.to_str().unwrap()), "{error}");
            assert_eq!(std::fs::read(&path).unwrap(), before);
        }
        let path = folder.path().join("missing").join("store.db");
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Sqlite { .. }) && error.to_string().contains(path.to_str().unwrap()), "{error}");
    }

    /// Guarantees: an older file gets the migrations it lacks, once; one that fails leaves neither its changes nor its number.
    #[test]
    fn migrations_are_applied_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let mut connection = prepare(&path).unwrap();
        let first = "CREATE TABLE one (n INTEGER)";
        let second = "CREATE TABLE two (n INTEGER)";
        migrate(&mut connection, &[first], &path).unwrap();
        assert_eq!(version(&connection), 1);
        assert!(migrate(&mut connection, &[first, second, "CREATE TABLE three (n INTEGER); nonsense"], &path).is_err());
        assert_eq!(version(&connection), 2);
        let tables: Vec<String> = connection
            .prepare("SELECT name FROM sqlite_schema ORDER BY name")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(tables, ["one", "two"]);
        migrate(&mut connection, &[first, second], &path).unwrap();
        assert_eq!(version(&connection), 2);
    }

    /// Guarantees: the schema after all migrations is the one written down beside the tests. Whoever changes it has to add a migration and
    /// look at this file; files in the field then change in the same way.
    #[test]
    fn the_schema_is_the_golden_one() {
        let folder = tempfile::tempdir().unwrap();
        let connection = open(&folder.path().join("store.db")).unwrap();
        let statements: Vec<String> = connection
            .prepare("SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type DESC, name")
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(statements.join("\n") + "\n", include_str!("../tests/schema.sql"));
    }
}
