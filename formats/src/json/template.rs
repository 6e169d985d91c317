//! Messages as templates, as Serilog writes them: `User {UserId} logged in`.

use domain::metadata::{JsonKind, JsonValue};

use super::members::Members;
use super::text_of;

/// Longest message that is made of a template.
const RENDERED_BYTES_MAX: usize = 16 * 1024;

/// The message that a template is, with the values of its members. The template stays in the metadata.
pub fn render(members: &Members<'_>) -> Option<std::borrow::Cow<'static, str>> {
    let template = members.get("@mt").or_else(|| members.get("MessageTemplate"))?;
    let template = text_of(template).filter(|template| !template.trim().is_empty())?;
    let properties = members.get("Properties").filter(|value| value.kind() == JsonKind::Object);
    let value = |name: &str| {
        let inner = properties.and_then(|value| value.members().find(|(known, _)| known == name));
        inner.map(|(_, value)| value).or_else(|| members.get(name))
    };
    let mut message = String::with_capacity(template.len());
    let mut rest = template.as_ref();
    while let Some((before, behind)) = rest.split_once('{') {
        message.push_str(before);
        let Some((hole, behind_hole)) = behind.split_once('}') else {
            message.push('{');
            rest = behind;
            continue;
        };
        let name = hole.split([':', ',']).next().unwrap_or_default().trim_start_matches(['@', '$']);
        match value(name).filter(|_| message.len() < RENDERED_BYTES_MAX) {
            Some(value) => message.push_str(&shown(value)),
            None => {
                message.push('{');
                message.push_str(hole);
                message.push('}');
            }
        }
        rest = behind_hole;
    }
    message.push_str(rest);
    Some(message.into())
}

fn shown(value: JsonValue<'_>) -> String {
    value.plain().into_owned()
}
