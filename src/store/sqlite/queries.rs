//! The questions that SQLite is asked, and how the tables that answer them are filled in. A name's
//! records are found in `inbox` and `pairs`, and the newest, which are not there yet, in
//! `addressees`.

/// By kind, name, before, limit.
pub(super) const BEFORE: &str = "
    SELECT id, at, sender, body FROM records WHERE id IN (
        SELECT record FROM (
            SELECT record FROM inbox WHERE kind = $1 AND name = $2 AND record < $3
            ORDER BY record DESC LIMIT $4
        )
        UNION ALL
        SELECT record FROM addressees
        WHERE record > (SELECT indexed FROM counters) AND record < $3 AND kind = $1 AND name = $2
    ) ORDER BY id DESC LIMIT $4";

/// By one, other, before, limit. The two may be the same: what is found twice counts once.
pub(super) const BETWEEN: &str = "
    SELECT id, at, sender, body FROM records WHERE id IN (
        SELECT record FROM (
            SELECT record FROM pairs WHERE name = $1 AND sender = $2 AND record < $3
            ORDER BY record DESC LIMIT $4
        )
        UNION
        SELECT record FROM (
            SELECT record FROM pairs WHERE name = $2 AND sender = $1 AND record < $3
            ORDER BY record DESC LIMIT $4
        )
        UNION
        SELECT record FROM addressees
        WHERE record > (SELECT indexed FROM counters) AND record < $3 AND kind = 0
            AND (name = $1 AND sender = $2 OR name = $2 AND sender = $1)
    ) ORDER BY id DESC LIMIT $4";

/// By kind, name, since, until, limit.
pub(super) const AFTER: &str = "
    SELECT id, at, sender, body FROM records WHERE id IN (
        SELECT record FROM (
            SELECT record FROM inbox
            WHERE kind = $1 AND name = $2 AND record > $3 AND record <= $4
            ORDER BY record LIMIT $5
        )
        UNION ALL
        SELECT record FROM addressees
        WHERE record > max((SELECT indexed FROM counters), $3) AND record <= $4
            AND kind = $1 AND name = $2
    ) ORDER BY id LIMIT $5";

/// How many rows of `addressees` may wait to be filled in. Every question looks through them.
pub(super) const MAX_UNINDEXED: usize = 2048;

/// How many rows are filled in at a time, and those of the last record besides. It is done while a
/// message waits to be kept, so it must not take long; and more than a message adds, so that it
/// ends.
pub(super) const FILL_IN_ROWS: usize = 16_384;

/// Up to which record that is. By rows.
pub(super) const FILL_IN_UNTIL: &str = "
    SELECT max(record) FROM (
        SELECT record FROM addressees WHERE record > (SELECT indexed FROM counters)
        ORDER BY record LIMIT $1
    )";

/// Fills in what was kept since the last time, up to and including a record. In the order of the
/// tables, so that a page is touched once.
pub(super) const FILL_IN: [&str; 3] = [
    "INSERT INTO inbox (kind, name, record) SELECT kind, name, record FROM addressees
     WHERE record > (SELECT indexed FROM counters) AND record <= $1
     ORDER BY kind, name, record",
    "INSERT INTO pairs (name, sender, record) SELECT name, sender, record FROM addressees
     WHERE record > (SELECT indexed FROM counters) AND record <= $1
        AND kind = 0 AND sender IS NOT NULL
     ORDER BY name, sender, record",
    "UPDATE counters SET indexed = $1",
];

/// Removes the records up to and including one. What is not filled in yet stays unknown to `inbox`
/// and `pairs`: it is gone from `addressees` when it would be.
pub(super) const REMOVE: [&str; 4] = [
    "DELETE FROM inbox WHERE (kind, name, record) IN
        (SELECT kind, name, record FROM addressees WHERE record <= $1)",
    "DELETE FROM pairs WHERE (name, sender, record) IN
        (SELECT name, sender, record FROM addressees
         WHERE record <= $1 AND kind = 0 AND sender IS NOT NULL)",
    "DELETE FROM addressees WHERE record <= $1",
    "DELETE FROM records WHERE id <= $1",
];
