//! The members of an object, and the fields of an event that they are.

use std::borrow::Cow;

use domain::Uuid;
use domain::level::Level;
use domain::metadata::{JsonKind, JsonValue};
use domain::timestamp::Timestamp;

use super::roles::{self, CONTAINERS, FILE, PLACES, Role};
use super::text_of;
use super::values::{self, Dialect};
use crate::draft;
use crate::fields::Fields;
use crate::times::{self, Clock};

/// Most names that may have a role in one object: further ones are metadata.
const CANDIDATES_MAX: usize = 64;
/// What [`PLACES`] begin with, up to a dot, is not shorter.
const PLACE_BYTES_MIN: usize = 3;
/// Memory for the first members: most objects have no more.
const USUAL_MEMBERS: usize = 16;

/// One member, and those of its own members that were taken out.
struct Member<'a> {
    name: Cow<'a, str>,
    value: JsonValue<'a>,
    is_taken: bool,
    inner_taken: Vec<usize>,
}

/// A member with a role.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    role: Role,
    rank: u8,
    member: usize,
    inner: Option<usize>,
    value: JsonValue<'a>,
}

/// The members of an object.
pub struct Members<'a> {
    members: Vec<Member<'a>>,
    /// By rank, and by place within a rank.
    candidates: Vec<Candidate<'a>>,
    dialect: Dialect,
}

impl<'a> Members<'a> {
    pub fn new(object: &'a str) -> Self {
        let member = |(name, value)| Member { name, value, is_taken: false, inner_taken: Vec::new() };
        let mut members = Vec::with_capacity(USUAL_MEMBERS);
        members.extend(JsonValue::new(object).members().map(member));
        let mut candidates = Vec::with_capacity(USUAL_MEMBERS);
        for (index, member) in members.iter().enumerate() {
            add_candidates(&mut candidates, index, member);
        }
        candidates.truncate(CANDIDATES_MAX);
        candidates.sort_by_key(|candidate| candidate.rank);
        let has = |name: &str| members.iter().any(|member| member.name == name);
        let dialect = Dialect::new(has, members.iter().find(|member| member.name == "kind").map(|member| member.value));
        Self { members, candidates, dialect }
    }

    /// Takes out the first member with this role that is understood, unless `keep` says to leave it as well.
    fn take<T>(
        &mut self,
        role: Role,
        understand: impl Fn(JsonValue<'a>) -> Option<T>,
        keep: impl Fn(JsonValue<'a>) -> bool,
    ) -> Option<T> {
        let found = self.candidates.iter().filter(|candidate| candidate.role == role);
        let (candidate, value) = found
            .filter(|candidate| !self.members.get(candidate.member).is_some_and(|member| member.is_taken))
            .find_map(|candidate| Some((*candidate, understand(candidate.value)?)))?;
        if !keep(candidate.value)
            && let Some(member) = self.members.get_mut(candidate.member)
        {
            match candidate.inner {
                Some(inner) => member.inner_taken.push(inner),
                None => member.is_taken = true,
            }
        }
        Some(value)
    }

    /// The level. A number is read as the format that the other members show does.
    pub fn level(&mut self) -> Option<Level> {
        let dialect = self.dialect;
        let named = self.level_named(dialect);
        named.or_else(|| dialect.default_level())
    }

    fn level_named(&mut self, dialect: Dialect) -> Option<Level> {
        let found = self.candidates.iter().filter(|candidate| candidate.role == Role::Level);
        let found: Vec<_> = found.copied().collect();
        found.into_iter().find_map(|candidate| {
            let member = self.members.get_mut(candidate.member)?;
            let level = dialect.level(&member.name, candidate.inner.is_some(), candidate.value)?;
            if !values::keeps_more_than(candidate.value, level) {
                match candidate.inner {
                    Some(inner) => member.inner_taken.push(inner),
                    None => member.is_taken = true,
                }
            }
            Some(level)
        })
    }

    pub fn time(&mut self, clock: Clock<'_>) -> Option<Timestamp> {
        self.take(Role::Time, |value| values::time(value, clock), values::has_more_digits)
            .or_else(|| self.time_of_two_members(clock))
    }

    /// A day and a clock, or seconds and nanoseconds, in members of their own. They stay in the metadata.
    fn time_of_two_members(&self, clock: Clock<'_>) -> Option<Timestamp> {
        if let (Some(day), Some(time)) = (self.get("date"), self.get("time")) {
            return times::whole(&format!("{} {}", text_of(day)?, text_of(time)?), clock);
        }
        let number = |name: &str| self.get(name)?.json().parse().ok();
        times::of_seconds_and_nanos(number("timestampSeconds")?, number("timestampNanos").unwrap_or(0))
    }

    /// A text that is not empty. Container runtimes keep the line end.
    pub fn take_text(&mut self, role: Role) -> Option<Cow<'a, str>> {
        self.take(role, values::message, |_| false)
    }

    /// The text of an error, for objects that have no message. It stays in the metadata.
    pub fn text_of_error(&self) -> Option<Cow<'a, str>> {
        ["error", "err"].iter().find_map(|name| {
            let value = self.get(name)?;
            let inner = value.members().find(|(name, _)| name == "message").map(|(_, value)| value);
            text_of(inner.unwrap_or(value)).filter(|text| !text.trim().is_empty())
        })
    }

    pub fn source(&mut self) -> Option<String> {
        let is_service = |name: &str| draft::is_source(name) && !values::is_place_in_code(name);
        let named = |value| text_of(value).filter(|name| is_service(name)).map(Cow::into_owned);
        self.take(Role::Source, named, |_| false).or_else(|| {
            // OpenTelemetry: `resource.attributes` has the name of the service; it stays there.
            let attributes = values::member(self.get("resource")?, "attributes")?;
            named(values::member(attributes, "service.name")?)
        })
    }

    /// What names a service if nothing better does.
    pub fn place(&self) -> Option<String> {
        place(|| self.members.iter().map(|member| (Cow::Borrowed(member.name.as_ref()), member.value)))
    }

    pub fn stack_trace(&mut self) -> Option<String> {
        self.take(Role::StackTrace, values::stack_trace, |_| false)
    }

    /// The trace and the span, in lower case.
    pub fn trace(&mut self) -> (Option<String>, Option<String>) {
        let trace_id = self.take(Role::TraceId, values::trace_id, |value| value.json().contains('/'));
        let span_id = self.take(Role::SpanId, |value| draft::hexadecimal(&text_of(value)?, 16), |_| false);
        if trace_id.is_some() || span_id.is_some() {
            return (trace_id, span_id);
        }
        // W3C Trace Context: version, trace, span, flags. The flags are not part of an event.
        match self.take(Role::TraceParent, values::trace_parent, |_| true) {
            Some((trace_id, span_id)) => (Some(trace_id), Some(span_id)),
            None => (None, None),
        }
    }

    pub fn event_id(&mut self) -> Option<Uuid> {
        let id = |value| Uuid::try_parse(&text_of(value)?).ok().filter(|id| !id.is_nil());
        self.take(Role::EventId, id, |_| false)
    }

    /// The value of a member, by its exact name.
    pub fn get(&self, name: &str) -> Option<JsonValue<'a>> {
        self.members.iter().find(|member| member.name == name).map(|member| member.value)
    }

    /// All members that were not taken out. Those of a member `metadata` join them, as in the API; an object of
    /// Kubernetes has a `metadata` of its own.
    pub fn into_fields(self) -> Fields<'a> {
        let is_event = !self.members.iter().any(|member| member.name == "apiVersion");
        let mut fields = Fields::default();
        for member in self.members.into_iter().filter(|member| !member.is_taken) {
            let is_object = member.value.kind() == JsonKind::Object;
            if is_event && is_object && roles::of(member.name.as_bytes()) == Some((Role::Metadata, 0)) {
                for (name, value) in member.value.members() {
                    fields.push_borrowed(name, value.json());
                }
            } else if member.inner_taken.is_empty() {
                fields.push_borrowed(member.name, member.value.json());
            } else {
                push_rest(&mut fields, &member);
            }
        }
        fields
    }
}

/// The first of [`PLACES`] that an object with these members has.
pub fn place<'a, M: Iterator<Item = (Cow<'a, str>, JsonValue<'a>)>>(members: impl Fn() -> M) -> Option<String> {
    // Most objects have none.
    if !members().any(|(name, _)| may_begin_place(name.as_bytes())) {
        return None;
    }
    PLACES.iter().find_map(|path| {
        let text = text_of(at_path(&mut members(), path)?)?;
        let base = if path.ends_with(FILE) { text.rsplit(['/', '\\']).next()? } else { text.as_ref() };
        draft::is_source(base).then(|| base.to_owned())
    })
}

/// Whether the name of one of [`PLACES`] begins as this name does.
fn may_begin_place(name: &[u8]) -> bool {
    let Some(mut begin) = name.first_chunk::<PLACE_BYTES_MIN>().copied() else { return false };
    begin.make_ascii_lowercase();
    PLACES.iter().any(|path| path.as_bytes().first_chunk() == Some(&begin))
}

/// The value with this name, in any case; a name with dots is also that of a member within a member.
fn at_path<'a>(members: &mut dyn Iterator<Item = (Cow<'a, str>, JsonValue<'a>)>, path: &str) -> Option<JsonValue<'a>> {
    let first = path.as_bytes().first().map(u8::to_ascii_lowercase);
    for (name, value) in members {
        // Most names differ in their first byte.
        if name.as_bytes().first().map(u8::to_ascii_lowercase) != first {
            continue;
        }
        let Some(begin) = path.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(&name)) else { continue };
        let rest = path.get(begin.len()..).unwrap_or_default();
        let found = match rest.strip_prefix('.') {
            None if rest.is_empty() => Some(value),
            Some(rest) if value.kind() == JsonKind::Object => at_path(&mut value.members(), rest),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

fn add_candidates<'a>(candidates: &mut Vec<Candidate<'a>>, index: usize, member: &Member<'a>) {
    let name = values::lower(&member.name);
    if let Some((role, rank)) = roles::of(name.as_bytes()) {
        candidates.push(Candidate { role, rank, member: index, inner: None, value: member.value });
    }
    if member.value.kind() != JsonKind::Object || !CONTAINERS.contains(&name.as_ref()) {
        return;
    }
    for (inner, (inner_name, value)) in member.value.members().enumerate().take(CANDIDATES_MAX) {
        let path = format!("{name}.{}", inner_name.to_ascii_lowercase());
        if let Some((role, rank)) = roles::of(path.as_bytes()) {
            candidates.push(Candidate { role, rank, member: index, inner: Some(inner), value });
        }
    }
}

/// The members of a member that were not taken out, if any.
fn push_rest(fields: &mut Fields<'_>, member: &Member<'_>) {
    let rest = member.value.members().enumerate().filter(|(index, _)| !member.inner_taken.contains(index));
    let mut inner = Fields::default();
    for (_, (name, value)) in rest {
        inner.push_borrowed(name, value.json());
    }
    if !inner.is_empty() {
        fields.push_json(&member.name, &inner.into_json());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_looked_for() {
        for path in PLACES {
            let outer = path.split('.').next().expect("a name");
            assert!(outer.len() >= PLACE_BYTES_MIN && may_begin_place(outer.to_ascii_uppercase().as_bytes()), "{path}");
            let member = || std::iter::once((Cow::Borrowed(path), JsonValue::new("\"x\"")));
            assert_eq!(place(member).as_deref(), Some("x"), "{path}");
        }
        assert!(!may_begin_place(b"level") && !may_begin_place(b"ho"));
    }
}
