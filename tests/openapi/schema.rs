//! The document's parts, and as much of JSON Schema as its answers are described with.
//!
//! A keyword that is not known here is a panic, so that nothing is passed over. Stricter than JSON Schema: a member
//! that an object's description does not name is a fault, as the document is to be complete.

use std::collections::BTreeSet;

use serde_json::Value;

/// Keywords that say nothing about an answer's members.
const REMARKS: [&str; 1] = ["description"];

pub struct Document(pub Value);

impl Document {
    /// What a value is, behind its reference if it is one.
    #[track_caller]
    pub fn resolve<'d>(&'d self, value: &'d Value) -> &'d Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
    }

    /// Each path, its methods in capitals, and what they are described with.
    pub fn operations(&self) -> Vec<(&str, String, &Value)> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in self.resolve(item).as_object().unwrap() {
                operations.push((path.as_str(), method.to_uppercase(), operation));
            }
        }
        operations
    }

    /// What is wrong with a value, by its place.
    pub fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.hold(schema, value, "", &mut faults);
        self.hold_names(schema, value, "", &mut faults);
        faults
    }

    fn hold(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        let schema = self.resolve(schema);
        let mut fault = |what: String| faults.push(format!("{place}: {what}, not {value}"));
        for (keyword, rule) in schema.as_object().expect("a schema") {
            match keyword.as_str() {
                "type" => {
                    let found = match value {
                        Value::Null => "null",
                        Value::Bool(_) => "boolean",
                        Value::Number(number) if number.is_f64() => "number",
                        Value::Number(_) => "integer",
                        Value::String(_) => "string",
                        Value::Array(_) => "array",
                        Value::Object(_) => "object",
                    };
                    if rule != found {
                        fault(format!("{rule}"));
                    }
                }
                "const" if rule != value => fault(format!("{rule}")),
                "enum" if !rule.as_array().unwrap().contains(value) => fault(format!("one of {rule}")),
                "minimum" if value.as_i64() < rule.as_i64() => fault(format!("at least {rule}")),
                "minItems" | "maxItems" => {
                    let (count, limit) =
                        (value.as_array().map_or(0, Vec::len), rule.as_u64().unwrap() as usize);
                    if (keyword == "minItems" && count < limit) || (keyword == "maxItems" && count > limit) {
                        fault(format!("{keyword} {rule}"));
                    }
                }
                "required" => {
                    for name in rule.as_array().unwrap().iter().filter_map(Value::as_str) {
                        if value.get(name).is_none() {
                            fault(format!("with {name}"));
                        }
                    }
                }
                "anyOf" => {
                    let alternatives = rule.as_array().unwrap();
                    if !alternatives.iter().any(|one| self.faults(one, value).is_empty()) {
                        fault("one of several".to_owned());
                    }
                }
                "const" | "enum" | "minimum" | "allOf" | "properties" | "items" => {}
                known if REMARKS.contains(&known) => {}
                other => panic!("{place}: {other} is not known here"),
            }
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.hold(part, value, place, faults);
        }
        for (name, rule) in schema["properties"].as_object().into_iter().flatten() {
            if let Some(member) = value.get(name) {
                self.hold(rule, member, &format!("{place}/{name}"), faults);
                self.hold_names(rule, member, &format!("{place}/{name}"), faults);
            }
        }
        if let (Some(rule), Some(items)) = (schema.get("items"), value.as_array()) {
            for (at, item) in items.iter().enumerate() {
                self.hold(rule, item, &format!("{place}/{at}"), faults);
                self.hold_names(rule, item, &format!("{place}/{at}"), faults);
            }
        }
    }

    /// Members that have no description.
    fn hold_names(&self, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
        let names = self.names(schema);
        let members = value.as_object().filter(|_| !names.is_empty()).into_iter().flatten();
        faults.extend(
            members
                .filter(|(name, _)| !names.contains(name.as_str()))
                .map(|(name, _)| format!("{place}: {name} is not described")),
        );
    }

    fn names<'d>(&'d self, schema: &'d Value) -> BTreeSet<&'d str> {
        let schema = self.resolve(schema);
        let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str());
        let parts = schema["allOf"].as_array().into_iter().flatten();
        own.chain(parts.flat_map(|part| self.names(part))).collect()
    }
}
