//! [`Search`]: a page of the events that match a filter, newest first, found within bounds.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::time::Instant;

use crate::event::{EventId, EventSummary, Kind, State};

/// How many events [`Admin::search`](crate::Admin::search) examines by default.
pub const DEFAULT_MAX_EXAMINED: NonZeroUsize = NonZeroUsize::new(20_000).expect("not zero");

/// How long [`Admin::search`](crate::Admin::search) takes by default, apart from its last step.
pub const DEFAULT_MAX_TIME: Duration = Duration::from_millis(100);

/// How far the order of ids and that of acceptance differ at most.
const ID_SLACK: Duration = Duration::from_secs(60);

/// Parameters of [`Admin::search`](crate::Admin::search). An event matches if it matches all of them.
///
/// ```
/// use std::num::NonZeroUsize;
/// use webhook_core::{Kind, Pattern, Search, State};
///
/// let failed_invoices = Search::new(NonZeroUsize::new(50).unwrap())
///     .kinds([Kind::from_static("stripe")])
///     .state(State::Failed)
///     .event_type(Pattern::Prefix("invoice.".to_owned()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// Only events of these kinds; `None` for all kinds.
    pub kinds: Option<Vec<Kind>>,
    /// Only events in this state.
    pub state: Option<State>,
    /// Only events whose type matches. Events without a type never match.
    pub event_type: Option<Pattern>,
    /// Only events whose key matches.
    pub key: Option<Pattern>,
    /// Only events whose [reason](field@EventSummary::reason) contains this text, in upper or lower case (ASCII).
    pub reason: Option<String>,
    /// Only events that have a header of this name, in upper or lower case, with exactly this value. Headers are
    /// deleted together with bodies.
    pub header: Option<(String, String)>,
    /// Only events that were accepted at this time or later, by the store's clock.
    pub received_since: Option<SystemTime>,
    /// Only events that were accepted before this time, by the store's clock.
    pub received_until: Option<SystemTime>,
    /// Only events with a smaller id: [`SearchPage::next`] of the page before; `None` for the first page.
    pub before: Option<EventId>,
    /// The largest number of events in the page.
    pub limit: NonZeroUsize,
    /// How many events the call examines at most. Default: [`DEFAULT_MAX_EXAMINED`].
    pub max_examined: NonZeroUsize,
    /// After this time the call examines no further events. It takes longer by the step that it is at, which is a
    /// small part of this time unless the store is slow. Default: [`DEFAULT_MAX_TIME`].
    pub max_time: Duration,
}

impl Search {
    /// The newest `limit` events of all kinds.
    pub const fn new(limit: NonZeroUsize) -> Self {
        Self {
            kinds: None,
            state: None,
            event_type: None,
            key: None,
            reason: None,
            header: None,
            received_since: None,
            received_until: None,
            before: None,
            limit,
            max_examined: DEFAULT_MAX_EXAMINED,
            max_time: DEFAULT_MAX_TIME,
        }
    }

    /// Sets [`kinds`](field@Self::kinds).
    #[must_use]
    pub fn kinds(self, kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            kinds: Some(kinds.into_iter().collect()),
            ..self
        }
    }

    /// Sets [`state`](field@Self::state).
    #[must_use]
    pub fn state(self, state: impl Into<Option<State>>) -> Self {
        Self {
            state: state.into(),
            ..self
        }
    }

    /// Sets [`event_type`](field@Self::event_type).
    #[must_use]
    pub fn event_type(self, event_type: impl Into<Option<Pattern>>) -> Self {
        Self {
            event_type: event_type.into(),
            ..self
        }
    }

    /// Sets [`key`](field@Self::key).
    #[must_use]
    pub fn key(self, key: impl Into<Option<Pattern>>) -> Self {
        Self {
            key: key.into(),
            ..self
        }
    }

    /// Sets [`reason`](field@Self::reason).
    #[must_use]
    pub fn reason(self, text: impl Into<String>) -> Self {
        Self {
            reason: Some(text.into()),
            ..self
        }
    }

    /// Sets [`header`](field@Self::header).
    #[must_use]
    pub fn header(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            header: Some((name.into(), value.into())),
            ..self
        }
    }

    /// Sets [`received_since`](field@Self::received_since).
    #[must_use]
    pub fn received_since(self, since: impl Into<Option<SystemTime>>) -> Self {
        Self {
            received_since: since.into(),
            ..self
        }
    }

    /// Sets [`received_until`](field@Self::received_until).
    #[must_use]
    pub fn received_until(self, until: impl Into<Option<SystemTime>>) -> Self {
        Self {
            received_until: until.into(),
            ..self
        }
    }

    /// Sets [`before`](field@Self::before).
    #[must_use]
    pub fn before(self, before: impl Into<Option<EventId>>) -> Self {
        Self {
            before: before.into(),
            ..self
        }
    }

    /// Sets [`max_examined`](field@Self::max_examined).
    #[must_use]
    pub fn max_examined(self, max_examined: NonZeroUsize) -> Self {
        Self {
            max_examined,
            ..self
        }
    }

    /// Sets [`max_time`](field@Self::max_time).
    #[must_use]
    pub fn max_time(self, max_time: Duration) -> Self {
        Self { max_time, ..self }
    }

    /// The bounds of the time of acceptance within which a backend whose ids ascend with that time looks for events.
    ///
    /// They are a minute wider than [`received_since`](field@Self::received_since) and
    /// [`received_until`](field@Self::received_until), since the order of ids may differ by that much: an event gets its
    /// id within the statement whose time is that of its acceptance, while other statements run.
    pub fn widened_bounds(&self) -> (Option<SystemTime>, Option<SystemTime>) {
        let earlier = |time: SystemTime| time.checked_sub(ID_SLACK);
        let since = self.received_since;
        let since = since.map(|it| earlier(it).unwrap_or(SystemTime::UNIX_EPOCH));
        let until = self.received_until;
        (since, until.and_then(|it| it.checked_add(ID_SLACK)))
    }

    /// Whether an event with this summary matches, whatever its id.
    pub fn matches(&self, event: &EventSummary) -> bool {
        let is_of = |pattern: &Option<Pattern>, text: Option<&str>| {
            let Some(pattern) = pattern else { return true };
            text.is_some_and(|text| pattern.matches(text))
        };
        let event_type = event.event_type.as_ref().map(|it| it.as_str());
        let reason = event.reason.as_ref().map_or("", |it| it.as_str());
        let has_header = |(name, value): &(String, String)| {
            let mut values = event.headers.get_all(name);
            values.any(|it| it == value.as_bytes())
        };
        let kinds = self.kinds.as_ref();
        kinds.is_none_or(|kinds| kinds.contains(&event.event.kind))
            && self.state.is_none_or(|state| event.state == state)
            && is_of(&self.key, Some(event.event.key.as_str()))
            && is_of(&self.event_type, event_type)
            && self.received_since.is_none_or(|it| event.accepted_at >= it)
            && self.received_until.is_none_or(|it| event.accepted_at < it)
            && self
                .reason
                .as_ref()
                .is_none_or(|text| contains(reason, text))
            && self.header.as_ref().is_none_or(has_header)
    }
}

/// Whether `text` contains `part`, in upper or lower case (ASCII).
fn contains(text: &str, part: &str) -> bool {
    let (text, part) = (text.as_bytes(), part.as_bytes());
    part.is_empty()
        || text
            .windows(part.len())
            .any(|it| it.eq_ignore_ascii_case(part))
}

/// A text that keys and event types are compared with, byte for byte. As text, it is written so:
///
/// | Text | Matches |
/// |---|---|
/// | `invoice.paid` | `invoice.paid` |
/// | `invoice.*` | what begins with `invoice.` |
/// | `"a*"` | `a*`, and nothing else |
/// | `"a*"*` | what begins with `a*` |
///
/// A text that begins with a quotation mark is quoted: there, a backslash stands before each quotation mark and each
/// backslash. Elsewhere, only a `*` at the end has a meaning.
///
/// ```
/// use webhook_core::Pattern;
///
/// let pattern: Pattern = "invoice.*".parse()?;
/// assert_eq!(pattern, Pattern::Prefix("invoice.".to_owned()));
/// let pattern: Pattern = r#""invoice.*""#.parse()?;
/// assert_eq!(pattern, Pattern::Exact("invoice.*".to_owned()));
/// # Ok::<(), webhook_core::InvalidPattern>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The whole text is equal.
    Exact(String),
    /// The text begins with this.
    Prefix(String),
}

impl Pattern {
    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(whole) => text == whole,
            Self::Prefix(prefix) => text.starts_with(prefix),
        }
    }

    /// The whole text, if this is exact.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(whole) => Some(whole),
            Self::Prefix(_) => None,
        }
    }

    /// The text that every match begins with.
    pub fn prefix(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
        }
    }
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidPattern {
    /// There is no text.
    #[error("the text is empty; `*` matches every text")]
    Empty,
    /// A quotation mark is not closed.
    #[error("a quotation mark is not closed")]
    Unclosed,
    /// Something other than `*` follows a quoted text.
    #[error("only `*` may follow a quotation mark that closes a text")]
    AfterQuote,
    /// A backslash stands before something else.
    #[error(
        "in quotation marks, a backslash may stand only before a quotation mark or a backslash"
    )]
    Backslash,
}

impl FromStr for Pattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let Some(quoted) = text.strip_prefix('"') else {
            return match text.strip_suffix('*') {
                _ if text.is_empty() => Err(InvalidPattern::Empty),
                Some(prefix) => Ok(Self::Prefix(prefix.to_owned())),
                None => Ok(Self::Exact(text.to_owned())),
            };
        };
        let mut chars = quoted.chars();
        let mut value = String::new();
        loop {
            match chars.next().ok_or(InvalidPattern::Unclosed)? {
                '"' => break,
                '\\' => match chars.next().ok_or(InvalidPattern::Unclosed)? {
                    c @ ('"' | '\\') => value.push(c),
                    _ => return Err(InvalidPattern::Backslash),
                },
                c => value.push(c),
            }
        }
        match chars.as_str() {
            "" if value.is_empty() => Err(InvalidPattern::Empty),
            "" => Ok(Self::Exact(value)),
            "*" => Ok(Self::Prefix(value)),
            _ => Err(InvalidPattern::AfterQuote),
        }
    }
}

/// Writes the text that [`FromStr`] reads, with quotation marks where they are needed, and around each text with a
/// space, a quotation mark or a backslash.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, star) = match self {
            Self::Exact(text) => (text, ""),
            Self::Prefix(text) => (text, "*"),
        };
        let is_special = |c: char| c.is_whitespace() || matches!(c, '"' | '\\');
        let is_quoted = text.contains(is_special)
            || star.is_empty() && (text.is_empty() || text.ends_with('*'));
        if !is_quoted {
            return write!(f, "{text}{star}");
        }
        f.write_str("\"")?;
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        write!(f, "\"{star}")
    }
}

/// The result of [`Admin::search`](crate::Admin::search).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchPage {
    /// The events, in descending order of their ids: the newest first.
    pub events: Vec<EventSummary>,
    /// What [`Search::before`](field@Search::before) of the next page is. `None` if no other event matches.
    pub next: Option<EventId>,
    /// Why the page has fewer than [`Search::limit`](field@Search::limit) events although further ones may match;
    /// `None` if the page is full, or no other event matches.
    pub stopped_early: Option<StoppedEarly>,
}

/// Which bound ended a search before its page was full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoppedEarly {
    /// The call examined [`Search::max_examined`](field@Search::max_examined) events.
    Examined,
    /// The call took [`Search::max_time`](field@Search::max_time).
    Time,
}

/// How many events the first step of a search examines.
const FIRST_STEP: usize = 250;

/// How many events a step of a search examines at most.
const LARGEST_STEP: usize = 2_000;

/// A step that takes less than this part of the time is followed by a larger one.
const QUICK: u32 = 8;

/// A search that is running, for backends: it divides the search into steps, and makes the page.
///
/// A backend takes the [next step](Self::next_step), examines that many events in descending order of their ids, and
/// [adds](Self::add) what it found, until there is no next step. It holds no lock, connection or transaction between
/// two steps.
#[derive(Debug)]
pub struct SearchScan<'s> {
    search: &'s Search,
    begun: Instant,
    /// When the latest step began.
    step_begun: Instant,
    before: Option<EventId>,
    examined: usize,
    step: usize,
    events: Vec<EventSummary>,
    /// Whether no event is left.
    is_at_end: bool,
    stopped: Option<StoppedEarly>,
}

/// A part of a [`SearchScan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchStep {
    /// Only events with a smaller id are examined.
    pub before: Option<EventId>,
    /// How many events are examined, if there are as many.
    pub examine: NonZeroUsize,
    /// How many of the events that match are returned at most.
    pub limit: NonZeroUsize,
    /// How much of [`Search::max_time`](field@Search::max_time) is left.
    pub time_left: Duration,
}

impl<'s> SearchScan<'s> {
    /// Begins a search.
    pub fn new(search: &'s Search) -> Self {
        let begun = Instant::now();
        let is_at_end = search.kinds.as_ref().is_some_and(Vec::is_empty);
        Self {
            search,
            begun,
            step_begun: begun,
            before: search.before,
            examined: 0,
            step: FIRST_STEP,
            events: Vec::new(),
            is_at_end,
            stopped: None,
        }
    }

    /// The next step; `None` once the page is ready.
    pub fn next_step(&mut self) -> Option<SearchStep> {
        let missing = self.search.limit.get().saturating_sub(self.events.len());
        if self.is_at_end || self.stopped.is_some() || missing == 0 {
            return None;
        }
        let now = Instant::now();
        let left = self.search.max_examined.get() - self.examined;
        let time_left = self.search.max_time.saturating_sub(now - self.begun);
        let Some(examine) = NonZeroUsize::new(self.step.min(left)) else {
            self.stopped = Some(StoppedEarly::Examined);
            return None;
        };
        if time_left.is_zero() && self.examined > 0 {
            self.stopped = Some(StoppedEarly::Time);
            return None;
        }
        self.step_begun = now;
        // One more than is missing says whether there is a next page. Headers are compared here.
        let limit = match self.search.header {
            Some(_) => examine,
            None => NonZeroUsize::MIN.saturating_add(missing).min(examine),
        };
        Some(SearchStep {
            before: self.before,
            examine,
            limit,
            time_left,
        })
    }

    /// Adds the result of `step`: how many events it examined, the smallest id among them, and those that match, in
    /// descending order of their ids. Events that do not [match](Search::matches) are ignored.
    pub fn add(
        &mut self,
        step: SearchStep,
        examined: usize,
        last: Option<EventId>,
        events: Vec<EventSummary>,
    ) {
        // There may be further matches among the examined events.
        let is_cut = events.len() >= step.limit.get() && examined > events.len();
        let reached = match events.last() {
            Some(event) if is_cut => Some(event.id),
            _ => last,
        };
        let matching = events.into_iter().filter(|it| self.search.matches(it));
        self.events.extend(matching);
        self.examined += examined.min(step.examine.get());
        self.is_at_end = !is_cut && examined < step.examine.get();
        self.before = reached.or(self.before);
        let limit = self.search.limit.get();
        if self.events.len() > limit {
            self.events.truncate(limit);
            self.is_at_end = false;
            self.before = self.events.last().map(|it| it.id);
        }
        if self.step_begun.elapsed() < self.search.max_time / QUICK {
            self.step = (self.step * 2).min(LARGEST_STEP);
        }
    }

    /// Ends the search because its time is over, if any event was examined. Otherwise the caller has nothing to return
    /// but the error. Returns whether it ended.
    pub fn stop_for_time(&mut self) -> bool {
        if self.examined > 0 {
            self.stopped = Some(StoppedEarly::Time);
        }
        self.examined > 0
    }

    /// The page.
    pub fn page(self) -> SearchPage {
        SearchPage {
            events: self.events,
            next: if self.is_at_end { None } else { self.before },
            stopped_early: self.stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventRef, EventType, FailureReason, Fingerprint, Headers, Key, Reason};

    fn search(limit: usize) -> Search {
        Search::new(NonZeroUsize::new(limit).unwrap())
    }

    fn event(id: i64) -> EventSummary {
        let event = EventRef {
            kind: Kind::from_static("order"),
            key: Key::new(format!("o-{id}")).unwrap(),
        };
        let id = EventId::new(id);
        let accepted_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        EventSummary::new(
            id,
            event,
            Fingerprint::of(["1"]),
            State::Failed,
            accepted_at,
        )
    }

    #[test]
    fn an_event_matches_if_all_parameters_do() {
        let mut event = event(1);
        event.event_type = Some(EventType::new("invoice.paid").unwrap());
        event.reason = Some(FailureReason::from(Reason::new("Time-out after 5 s")));
        event.headers = Headers::try_from_iter([("X-Id", "1"), ("X-Id", "2")]).unwrap();
        let base = search(1);
        let with = |set: &dyn Fn(Search) -> Search| set(base.clone()).matches(&event);
        let second = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let pattern = |text: &str| -> Pattern { text.parse().unwrap() };
        assert!(base.matches(&event));
        assert!(with(&|it| it.key(pattern("o-1"))) && with(&|it| it.key(pattern("o-*"))));
        assert!(!with(&|it| it.key(pattern("o-"))) && !with(&|it| it.key(pattern("\"o-*\""))));
        assert!(with(&|it| it.event_type(pattern("invoice.*"))));
        assert!(!with(&|it| it.event_type(pattern("Invoice.*"))));
        assert!(with(&|it| it.reason("TIME-OUT")) && !with(&|it| it.reason("timeout")));
        assert!(with(&|it| it.header("x-id", "2")) && !with(&|it| it.header("x-id", "3")));
        assert!(with(&|it| it.state(State::Failed)) && !with(&|it| it.state(State::Processed)));
        assert!(with(&|it| it.received_since(second(1_000))));
        assert!(!with(&|it| it.received_since(second(1_001))));
        assert!(!with(&|it| it.received_until(second(1_000))));
        assert!(with(&|it| it.received_until(second(1_001))));
        assert!(with(&|it| it.kinds([Kind::from_static("order")])) && !with(&|it| it.kinds([])));
        assert!(!with(&|it| it.reason("time-out").key(pattern("p*"))));
    }

    #[test]
    fn every_text_can_be_a_pattern_whole_and_as_a_prefix() {
        let exact = |text: &str| Pattern::Exact(text.to_owned());
        let prefix = |text: &str| Pattern::Prefix(text.to_owned());
        for (text, expected) in [
            ("invoice", exact("invoice")),
            ("invoice.*", prefix("invoice.")),
            ("*", prefix("")),
            ("a*b", exact("a*b")),
            (r#""a*""#, exact("a*")),
            ("a**", prefix("a*")),
            (r#""*""#, exact("*")),
            (r#""a b""#, exact("a b")),
            (r#""a b"*"#, prefix("a b")),
            (r#""a\"b""#, exact("a\"b")),
            (r#""a\\"*"#, prefix("a\\")),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string(), text);
        }
        for (text, expected) in [
            ("a b", exact("a b")),
            ("a\"b", exact("a\"b")),
            (r"a\*", prefix("a\\")),
            (r#""a""#, exact("a")),
            (r#"""*"#, prefix("")),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("", InvalidPattern::Empty),
            (r#""""#, InvalidPattern::Empty),
            (r#"""#, InvalidPattern::Unclosed),
            (r#""a"#, InvalidPattern::Unclosed),
            (r#""a\"#, InvalidPattern::Unclosed),
            (r#""a\""#, InvalidPattern::Unclosed),
            (r#""a"b"#, InvalidPattern::AfterQuote),
            (r#""a"**"#, InvalidPattern::AfterQuote),
            (r#""a\*""#, InvalidPattern::Backslash),
        ] {
            assert_eq!(text.parse::<Pattern>(), Err(expected), "{text}");
        }
    }

    /// Runs a search over these ids, as a backend does.
    fn run(search: &Search, ids: &[i64]) -> SearchPage {
        let mut scan = SearchScan::new(search);
        while let Some(step) = scan.next_step() {
            let left = ids.iter().copied().map(EventId::new);
            let left = left.filter(|id| step.before.is_none_or(|before| *id < before));
            let examined: Vec<_> = left.take(step.examine.get()).collect();
            let matching = examined.iter().map(|id| event(id.get()));
            let matching = matching.filter(|it| search.matches(it));
            let matching = matching.take(step.limit.get()).collect();
            scan.add(step, examined.len(), examined.last().copied(), matching);
        }
        scan.page()
    }

    /// All pages of a search, with the reasons why some stopped early.
    fn pages(search: &Search, ids: &[i64]) -> (Vec<Vec<i64>>, Vec<StoppedEarly>) {
        let (mut pages, mut stops, mut search) = (Vec::new(), Vec::new(), search.clone());
        loop {
            let page = run(&search, ids);
            pages.push(page.events.iter().map(|it| it.id.get()).collect());
            stops.extend(page.stopped_early);
            match page.next {
                Some(next) => search.before = Some(next),
                None => return (pages, stops),
            }
            assert!(pages.len() < 100, "{pages:?}");
        }
    }

    #[test]
    fn pages_continue_after_the_last_event_and_end_with_the_last() {
        let ids = [9, 7, 5, 3];
        assert_eq!(
            pages(&search(2), &ids),
            (vec![vec![9, 7], vec![5, 3]], vec![])
        );
        assert_eq!(
            pages(&search(3), &ids),
            (vec![vec![9, 7, 5], vec![3]], vec![])
        );
        assert_eq!(pages(&search(4), &ids), (vec![ids.to_vec()], vec![]));
        assert_eq!(pages(&search(4), &[]), (vec![vec![]], vec![]));
        assert_eq!(pages(&search(4).kinds([]), &ids), (vec![vec![]], vec![]));
    }

    #[test]
    fn a_search_that_stops_early_continues_behind_what_was_examined() {
        let ids: Vec<i64> = (1..=2_000).rev().collect();
        let rare = |limit| search(limit).key(Pattern::Exact("o-700".into()));
        let bounded = rare(1).max_examined(NonZeroUsize::new(300).unwrap());
        let (found, stops) = pages(&bounded, &ids);
        assert_eq!(found.concat(), [700]);
        assert_eq!(stops, [StoppedEarly::Examined; 5]);
        let hurried = rare(2).max_time(Duration::ZERO);
        let (found, stops) = pages(&hurried, &ids);
        assert_eq!(found.concat(), [700]);
        // Each call examines the first step.
        assert_eq!(stops, [StoppedEarly::Time; 8]);
        assert_eq!(pages(&rare(2), &ids), (vec![vec![700]], vec![]));
    }
}
