//! Splits the SQL of a migration into its statements.
//!
//! PostgreSQL takes several statements in one message. Citus refuses definitions of tables that come with other
//! statements in one message.

/// Returns the statements of `sql`, in order, without the comments and spaces between them.
///
/// Semicolons end statements where they do in psql: not inside texts, names, comments, parentheses and the bodies of
/// functions.
pub(super) fn statements(sql: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut statement = Statement::default();
    let mut start = None;
    let mut at = 0;
    while at < sql.len() {
        let (token, length) = token(&sql[at..]);
        match token {
            Token::Semicolon if statement.may_end() => {
                if let Some(start) = start.take() {
                    statements.push(sql[start..at].trim_end());
                }
                statement = Statement::default();
            }
            Token::Blank => {}
            token => {
                start.get_or_insert(at);
                statement.read(token);
            }
        }
        at += length;
    }
    if let Some(start) = start {
        statements.push(sql[start..].trim_end());
    }
    statements
}

/// What has been read of a statement.
#[derive(Default)]
struct Statement {
    /// Its first words, in lower case.
    words: Vec<String>,
    /// How many parentheses are open.
    parentheses: usize,
    /// How many BEGIN and CASE are open in the body of a function.
    blocks: usize,
}

/// How many words tell that a statement is CREATE OR REPLACE FUNCTION.
const WORDS: usize = 4;

impl Statement {
    fn may_end(&self) -> bool {
        self.parentheses == 0 && self.blocks == 0
    }

    fn read(&mut self, token: Token<'_>) {
        match token {
            Token::Word(word) => {
                let word = word.to_ascii_lowercase();
                if self.creates_a_routine() {
                    match word.as_str() {
                        "begin" => self.blocks += 1,
                        // It ends with END, too.
                        "case" if self.blocks > 0 => self.blocks += 1,
                        "end" => self.blocks = self.blocks.saturating_sub(1),
                        _ => {}
                    }
                }
                if self.words.len() < WORDS {
                    self.words.push(word);
                }
            }
            Token::Open => self.parentheses += 1,
            Token::Close => self.parentheses = self.parentheses.saturating_sub(1),
            Token::Semicolon | Token::Blank | Token::Other => {}
        }
    }

    /// Whether its body may be written in SQL without quotation marks: between BEGIN ATOMIC and END.
    fn creates_a_routine(&self) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        matches!(
            words.as_slice(),
            ["create", "function" | "procedure", ..]
                | ["create", "or", "replace", "function" | "procedure"]
        )
    }
}

#[derive(Clone, Copy)]
enum Token<'s> {
    /// Spaces or a comment.
    Blank,
    Semicolon,
    Open,
    Close,
    /// A key word, or a name without quotation marks.
    Word(&'s str),
    Other,
}

/// Reads the first token of `sql`, which is not empty. Returns its length, too. A text, a name or a comment without an
/// end lasts until the end of `sql`.
fn token(sql: &str) -> (Token<'_>, usize) {
    let bytes = sql.as_bytes();
    match bytes[0] {
        b' ' | b'\t' | b'\r' | b'\n' | b'\x0c' => (Token::Blank, 1),
        b'-' if sql.starts_with("--") => (Token::Blank, sql.find('\n').unwrap_or(sql.len())),
        b'/' if sql.starts_with("/*") => (Token::Blank, comment(sql)),
        b'\'' => (Token::Other, quoted(sql, 0, false)),
        b'"' => (Token::Other, quoted(sql, 0, false)),
        b'e' | b'E' if bytes.get(1) == Some(&b'\'') => (Token::Other, quoted(sql, 1, true)),
        b'$' => (Token::Other, dollar_quoted(sql)),
        b';' => (Token::Semicolon, 1),
        b'(' => (Token::Open, 1),
        b')' => (Token::Close, 1),
        b'0'..=b'9' => (Token::Other, word(sql)),
        byte if is_of_word(byte) => {
            let length = word(sql);
            (Token::Word(&sql[..length]), length)
        }
        _ => (Token::Other, 1),
    }
}

/// Whether a name may have this byte; the first one is no digit and no `$`.
fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
}

fn word(sql: &str) -> usize {
    let end = sql.bytes().position(|byte| !is_of_word(byte));
    end.unwrap_or(sql.len())
}

/// Returns the length of a comment, in which others may be.
fn comment(sql: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < sql.len() {
        let rest = &sql.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    sql.len()
}

/// Returns the length of a text or a name whose quotation mark is at `open`. The mark stands for itself if it is there
/// twice, and after a backslash if these have a meaning.
fn quoted(sql: &str, open: usize, backslashes: bool) -> usize {
    let bytes = sql.as_bytes();
    let mark = bytes[open];
    let mut at = open + 1;
    while at < bytes.len() {
        if bytes[at] == b'\\' && backslashes {
            at += 2;
        } else if bytes[at] != mark {
            at += 1;
        } else if bytes.get(at + 1) == Some(&mark) {
            at += 2;
        } else {
            return at + 1;
        }
    }
    sql.len()
}

/// Returns the length of a text between two equal tags, `$$` or `$name$`; 1 for another dollar sign, as in `$1`.
fn dollar_quoted(sql: &str) -> usize {
    let name = word_without_dollars(&sql[1..]);
    let starts_with_digit = sql.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if starts_with_digit || sql.as_bytes().get(1 + name) != Some(&b'$') {
        return 1;
    }
    let (tag, text) = sql.split_at(name + 2);
    text.find(tag)
        .map_or(sql.len(), |end| tag.len() + end + tag.len())
}

fn word_without_dollars(sql: &str) -> usize {
    let end = sql
        .bytes()
        .position(|byte| byte == b'$' || !is_of_word(byte));
    end.unwrap_or(sql.len())
}

#[cfg(test)]
mod tests {
    use super::super::MIGRATIONS;
    use super::*;

    #[test]
    fn statements_end_with_semicolons() {
        assert_eq!(
            statements("CREATE TABLE a (b int); DROP TABLE c;\nSELECT 1"),
            ["CREATE TABLE a (b int)", "DROP TABLE c", "SELECT 1"]
        );
        assert_eq!(statements("SELECT 1 ;\n"), ["SELECT 1"]);
        for nothing in ["", " ;; \n;", "-- SELECT 1;", "/* SELECT 1; */ ;"] {
            assert!(statements(nothing).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn semicolons_inside_of_tokens_end_nothing() {
        for sql in [
            "SELECT ';'",
            "SELECT 'it''s; ', 1",
            r"SELECT '\', 1",
            r"SELECT E'\';', e'a''\';'",
            r#"SELECT ";" FROM "a"";b""#,
            "SELECT 1 -- one; two\n, 2",
            "SELECT 1 -- it's\n, 2",
            "SELECT 1 /* a; /* b; */ c; */, 2",
            "SELECT $$;$$, $a$ $$; $b$; $a$, $1",
            "DO $do$ BEGIN EXECUTE $$SELECT ';'$$; END $do$",
            "SELECT a$$, b$1, $é$;$é$",
            "CREATE RULE r AS ON INSERT TO a DO ALSO (DELETE FROM b; DELETE FROM c)",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
            "create or replace procedure p() begin atomic select 1; end",
        ] {
            assert_eq!(statements(sql), [sql]);
            assert_eq!(statements(&format!("{sql};\n{sql}")), [sql, sql], "{sql}");
        }
        // Not the body of a function.
        assert_eq!(
            statements("BEGIN; SELECT 1; END"),
            ["BEGIN", "SELECT 1", "END"]
        );
    }

    #[test]
    fn what_has_no_end_lasts_to_the_end() {
        for sql in [
            "SELECT 'a;",
            "SELECT \"a;",
            "SELECT $$;",
            "SELECT $a$; $b$",
            r"SELECT E'\",
        ] {
            assert_eq!(statements(sql), [sql]);
        }
        assert_eq!(statements("SELECT 1; /* a; /* b */"), ["SELECT 1"]);
        assert_eq!(statements("SELECT 1; $"), ["SELECT 1", "$"]);
    }

    #[test]
    fn every_migration_is_split_into_definitions() {
        for (_, name, sql) in MIGRATIONS {
            let found = statements(sql);
            assert!(!found.is_empty(), "{name}");
            for statement in found {
                let begins = [
                    "CREATE ",
                    "ALTER TABLE ",
                    "DROP INDEX ",
                    "COMMENT ON ",
                    "DO $$",
                ];
                assert!(
                    begins.iter().any(|it| statement.starts_with(it)),
                    "{name}: {statement}"
                );
            }
        }
    }
}
