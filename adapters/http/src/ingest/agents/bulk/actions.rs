//! The lines of a bulk request: actions, and behind most of them a document.

use std::borrow::Cow;

use domain::metadata::{JsonKind, JsonValue, UsualMember, UsualReader};

use crate::ingest::agents::json_values::is_json_text;
use crate::ingest::protocol::DecodeError;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Add the document, or replace one with the same id.
    Index,
    /// Add the document.
    Create,
    /// Change a document.
    Update,
    /// Remove a document.
    Delete,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Index, Self::Create, Self::Update, Self::Delete];

    /// Its name in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// An action line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action<'a> {
    /// What to do.
    pub kind: Kind,
    /// Where, unless the path says it.
    pub index: Option<Cow<'a, str>>,
    /// The id of the document, if the client gave one.
    pub id: Option<Cow<'a, str>>,
}

impl<'a> Action<'a> {
    /// Reads an action line; `None` if it is something else.
    fn read(line: &'a str) -> Option<Self> {
        if !line.starts_with('{') || !is_json_text(line) {
            return None;
        }
        // Some clients add members of their own beside the action.
        let (kind, members) = JsonValue::new(line).members().find_map(|(name, value)| {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name)?;
            Some((kind, value)).filter(|_| value.kind() == JsonKind::Object)
        })?;
        let mut action = Self { kind, index: None, id: None };
        for (name, value) in members.members() {
            let text = matches!(value.kind(), JsonKind::Text | JsonKind::Number).then(|| value.plain());
            match &*name {
                "_index" => action.index = text,
                "_id" => action.id = text,
                _ => {}
            }
        }
        Some(action)
    }
}

/// The lines of a request.
pub struct Lines<'a> {
    rest: &'a str,
    number: usize,
    /// The last action line, and what it says: most clients repeat it for every document.
    last: Option<(&'a str, Action<'a>)>,
}

impl<'a> Lines<'a> {
    /// The lines of this body.
    pub fn new(body: &'a str) -> Self {
        Self { rest: body, number: 0, last: None }
    }

    /// The next action, on the next line that is not empty.
    ///
    /// # Errors
    /// The line is not an action: what the following lines are is not known.
    pub fn action(&mut self) -> Result<Option<Action<'a>>, DecodeError> {
        if let Some((last, action)) = &self.last
            && let Some(behind) = self.rest.strip_prefix(last).and_then(|rest| rest.strip_prefix('\n'))
        {
            self.rest = behind;
            self.number += 1;
            return Ok(Some(action.clone()));
        }
        let Some(line) = self.line() else { return Ok(None) };
        let action = Action::read(line).ok_or_else(|| {
            let number = self.number;
            let detail = format!(
                "Malformed action/metadata line [{number}], expected an object with index, create, update or delete"
            );
            DecodeError::Malformed(detail)
        })?;
        self.last = Some((line, action.clone()));
        Ok(Some(action))
    }

    /// The document behind an action, and its members if it is a usual object on a line of its own.
    ///
    /// # Errors
    /// There is none.
    pub fn document<'m>(
        &mut self,
        reader: &'m mut UsualReader<'a>,
    ) -> Result<(&'a str, Option<&'m [UsualMember<'a>]>), DecodeError> {
        if let Some((members, bytes)) = reader.members(self.rest)
            && let Some((document, behind)) = self.rest.split_at_checked(bytes)
            && let Some(behind) = behind.strip_prefix('\n')
        {
            self.rest = behind;
            self.number += 1;
            return Ok((document, Some(members)));
        }
        let document = self.line().ok_or_else(|| {
            DecodeError::Malformed(format!("the action on line [{}] has no document behind it", self.number))
        })?;
        Ok((document, None))
    }

    fn line(&mut self) -> Option<&'a str> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            self.number += 1;
            let line = line.trim();
            if !line.is_empty() {
                return Some(line);
            }
        }
    }
}
