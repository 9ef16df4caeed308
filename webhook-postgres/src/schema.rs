//! [`Schema`]: the database schema of an inbox.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The default schema, which the statements name, and the channel of its notifications.
const DEFAULT: &str = "webhook";

/// The largest length of a name, in bytes: names of channels and objects stay within PostgreSQL's limit of 63.
const MAX_BYTES: usize = 48;

/// The database schema of an inbox: `webhook` by default, and another one for each further inbox in the same
/// database.
///
/// ```
/// use webhook_postgres::{PgOptions, Schema};
///
/// let mut options: PgOptions = "postgresql://app@db.internal/app".parse()?;
/// options.schema = Schema::new("orders_inbox")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Schema(
    /// `None` for the default schema, for which statements need not be rewritten.
    Option<Arc<Named>>,
);

struct Named {
    name: String,
    /// The rewritten statements, by the statements of the program.
    statements: Mutex<HashMap<&'static str, Arc<str>>>,
}

/// The error for a text that is not a valid name of a schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a schema's name must have 1 to 48 characters out of a-z, 0-9 and _, and must not begin with a digit \
     or with pg_"
)]
pub struct InvalidSchema;

impl Schema {
    /// Creates a schema from its name, and checks the name.
    ///
    /// # Errors
    ///
    /// [`InvalidSchema`] unless it has 1 to 48 characters out of `a-z`, `0-9` and `_`, and begins
    /// neither with a digit nor with `pg_`.
    pub fn new(name: &str) -> Result<Self, InvalidSchema> {
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty()
            || name.len() > MAX_BYTES
            || !name.bytes().all(is_allowed)
            || name.starts_with(|c: char| c.is_ascii_digit())
            || name.starts_with("pg_")
        {
            return Err(InvalidSchema);
        }
        if name == DEFAULT {
            return Ok(Self::default());
        }
        Ok(Self(Some(Arc::new(Named {
            name: name.to_owned(),
            statements: Mutex::default(),
        }))))
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        self.0.as_ref().map_or(DEFAULT, |named| &named.name)
    }

    /// The channel of NOTIFY on which the processes of this inbox wake each other.
    pub(crate) fn channel(&self) -> String {
        match &self.0 {
            None => DEFAULT.to_owned(),
            Some(named) => format!("{DEFAULT}:{}", named.name),
        }
    }

    /// Rewrites a statement of the program, which names the default schema, for this schema.
    pub(crate) fn sql(&self, sql: &'static str) -> SqlStr {
        let Some(named) = &self.0 else {
            return sql.into_sql_str();
        };
        let statements = named.statements.lock();
        let mut statements = statements.unwrap_or_else(PoisonError::into_inner);
        let statement = statements
            .entry(sql)
            .or_insert_with(|| rewrite(sql, &named.name).into());
        AssertSqlSafe(Arc::clone(statement)).into_sql_str()
    }

    /// Like [`sql`](Self::sql), for a statement that was built at run time.
    pub(crate) fn sql_of(&self, sql: String) -> SqlStr {
        let sql = match &self.0 {
            None => sql,
            Some(named) => rewrite(&sql, &named.name),
        };
        AssertSqlSafe(sql).into_sql_str()
    }
}

/// Replaces the default schema in `sql` by `name`: before a dot, as a whole text literal, and after the word
/// SCHEMA.
fn rewrite(sql: &str, name: &str) -> String {
    let mut rewritten = String::with_capacity(sql.len() + 256);
    let mut rest = sql;
    while let Some(at) = rest.find(DEFAULT) {
        let (before, after) = (&rest[..at], &rest[at + DEFAULT.len()..]);
        rewritten.push_str(before);
        let is_text = before.ends_with('\'') && after.starts_with('\'');
        let is_word =
            !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '`'));
        if is_text {
            rewritten.push_str(name);
        } else if is_word && (after.starts_with('.') || before.ends_with("SCHEMA ")) {
            rewritten.push('"');
            rewritten.push_str(name);
            rewritten.push('"');
        } else {
            rewritten.push_str(DEFAULT);
        }
        rest = after;
    }
    rewritten.push_str(rest);
    rewritten
}

impl FromStr for Schema {
    type Err = InvalidSchema;

    fn from_str(name: &str) -> Result<Self, InvalidSchema> {
        Self::new(name)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Schema {}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for name in [
            "webhook",
            "a",
            "_",
            "orders_2",
            "user",
            "public",
            &"x".repeat(48),
        ] {
            let schema = Schema::new(name).unwrap();
            assert_eq!(schema.name(), name);
            assert_eq!(name.parse(), Ok(schema));
        }
        for name in [
            "",
            "A",
            "1a",
            "a-b",
            "a.b",
            "a\"",
            "a'",
            "é",
            "pg_x",
            "a b",
            &"x".repeat(49),
        ] {
            assert_eq!(Schema::new(name), Err(InvalidSchema), "{name}");
        }
        assert_eq!(Schema::new("webhook"), Ok(Schema::default()));
    }

    #[test]
    fn statements_name_the_schema() {
        let rewritten = rewrite(
            "CREATE SCHEMA webhook; SELECT to_regclass('webhook.events'), 'webhook', 'the webhook', \
             my_webhook.x, a.webhook.x FROM webhook.events, \"webhook\"",
            "user",
        );
        assert_eq!(
            rewritten,
            "CREATE SCHEMA \"user\"; SELECT to_regclass('\"user\".events'), 'user', 'the webhook', \
             my_webhook.x, a.webhook.x FROM \"user\".events, \"webhook\"",
        );
    }
}
