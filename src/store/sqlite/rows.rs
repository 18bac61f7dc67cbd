//! Statements that take many rows of values at once. Knows no tables.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr, Sqlite};

/// How many rows one statement may take. A few sizes only, so that each is prepared once; what is
/// left over is filled up with empty rows, since every statement more is a way to SQLite's thread
/// and back.
const ROWS: [usize; 4] = [4, 32, 128, 512];

/// A statement with the values bound so far.
pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement that takes rows, in every size of [`ROWS`].
pub(super) struct Rows {
    columns: usize,
    texts: [(usize, SqlStr); ROWS.len()],
}

impl Rows {
    /// Inserts rows of `columns` values, between `head` and `tail`. The first of a row is never
    /// null.
    pub(super) fn inserted(head: &str, columns: usize, tail: &str) -> Self {
        Self::new(columns, |values| {
            format!("{head} SELECT * FROM ({values}) WHERE column1 IS NOT NULL {tail}")
        })
    }

    /// Does what `text` says with rows of `columns` values, which are handed to it as a `VALUES`
    /// clause. Some of them are empty, all their values null: `text` must not mind.
    pub(super) fn new(columns: usize, text: impl Fn(&str) -> String) -> Self {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let text = |rows| text(&format!("VALUES {}", vec![row.as_str(); rows].join(", ")));
        // Safe: nothing from outside is in the text. Shared, since it is cloned at every use.
        let shared = |rows| AssertSqlSafe(text(rows)).into_sql_str().clone();
        Self {
            columns,
            texts: ROWS.map(|rows| (rows, shared(rows))),
        }
    }

    /// As few statements as take all of `rows`, with their values bound.
    pub(super) fn statements<'a, T>(
        &'a self,
        rows: &'a [T],
        bind: impl Fn(Statement<'static>, &T) -> Statement<'static> + Send + 'a,
    ) -> impl Iterator<Item = Statement<'static>> + Send + 'a
    where
        T: Sync,
    {
        let [.., (most, largest)] = &self.texts;
        rows.chunks(*most).map(move |rows| {
            let fits = self.texts.iter().find(|(size, _)| *size >= rows.len());
            let (size, text) = fits.map_or((most, largest), |(size, text)| (size, text));
            let query = rows.iter().fold(sqlx::query(text.clone()), &bind);
            let empty = (size - rows.len()) * self.columns;
            (0..empty).fold(query, |query, _| query.bind(None::<i64>))
        })
    }
}
