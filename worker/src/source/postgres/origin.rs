//! What a column's type is called in the database, and what of its values arrow does not keep. Pure.

use super::layout::{Chosen, TIMESTAMP};
use crate::{
    mapping::{Loss, Origin},
    postgres::{
        Class, Type,
        copy::{Form, Special},
    },
};

/// The column as the database has it.
pub(super) fn of(chosen: &Chosen, special: Special) -> Origin {
    let kind = &chosen.column.data_type;
    let mut losses = Vec::new();
    if kind.domain.is_some() {
        losses.push(Loss::DomainRules);
    }
    losses.extend(of_values(&chosen.form, kind));
    if special == Special::Null && chosen.form.has_special() {
        losses.push(Loss::SpecialValues);
    }
    let own = kind.domain.clone().filter(|domain| *domain != kind.name);
    let called = own.map_or_else(|| kind.name.clone(), |domain| format!("{domain} ({})", kind.name));
    losses.sort_unstable();
    Origin { column: chosen.column.name.clone(), kind: called, losses }
}

fn of_values(form: &Form, kind: &Type) -> Vec<Loss> {
    if let (Form::List(item), Class::Array(of)) = (form, &kind.class) {
        let mut losses = of_values(item, of);
        losses.push(Loss::Subscripts);
        return losses;
    }
    let loss = match (form, &kind.class) {
        (Form::Timestamp { utc: true }, _) if kind.oid == TIMESTAMP => Loss::LocalTime,
        (Form::NumericText, _) => Loss::NumberAsText,
        (Form::Jsonb, _) => Loss::DocumentAsText,
        (Form::Interval, _) => Loss::IntervalAsText,
        (Form::Uuid | Form::Inet | Form::MacAddress, _) => Loss::TypeAsText,
        (Form::Text, Class::Enum) => Loss::LabelsAsText,
        (Form::Text, Class::Range) => Loss::RangeAsText,
        (Form::Text, _) if kind.oid == JSON => Loss::DocumentAsText,
        (Form::Text, _) if !TEXTS.contains(&kind.oid) => Loss::TypeAsText,
        _ => return Vec::new(),
    };
    vec![loss]
}

/// By the oids that PostgreSQL gives its own types for ever.
const JSON: u32 = 114;
/// name, text, character, character varying.
const TEXTS: [u32; 4] = [19, 25, 1042, 1043];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::Column;

    fn kind(oid: u32, class: Class) -> Type {
        Type { oid, name: "t".to_owned(), modifier: -1, class, domain: None }
    }

    fn found(kind: Type, special: Special) -> Vec<Loss> {
        let form = Form::of(&kind).unwrap_or(Form::Text);
        let column = Column {
            name: "c".to_owned(),
            data_type: kind,
            nullable: true,
            generated: false,
            identity: false,
            key: None,
            readable: true,
        };
        of(&Chosen { column, form, expression: "c".to_owned() }, special).losses
    }

    #[test]
    fn every_type_says_what_it_loses() {
        let base = |oid| kind(oid, Class::Base);
        for (kind, wanted) in [
            (base(16), vec![]),
            (base(20), vec![]),
            (base(1043), vec![]),
            (base(1184), vec![]),
            (base(1700), vec![Loss::NumberAsText]),
            (base(JSON), vec![Loss::DocumentAsText]),
            (base(3802), vec![Loss::DocumentAsText]),
            (base(1186), vec![Loss::IntervalAsText]),
            (base(2950), vec![Loss::TypeAsText]),
            // money, which has no form of its own
            (base(790), vec![Loss::TypeAsText]),
            (kind(70_000, Class::Enum), vec![Loss::LabelsAsText]),
            (kind(3904, Class::Range), vec![Loss::RangeAsText]),
            (kind(70_001, Class::Composite), vec![Loss::TypeAsText]),
            (Type { domain: Some("email".to_owned()), ..base(25) }, vec![Loss::DomainRules]),
            (kind(1007, Class::Array(Box::new(base(23)))), vec![Loss::Subscripts]),
            (kind(2951, Class::Array(Box::new(base(2950)))), vec![Loss::TypeAsText, Loss::Subscripts]),
        ] {
            assert_eq!(found(kind.clone(), Special::Reject), wanted, "{kind:?}");
        }
    }

    #[test]
    fn what_becomes_null_by_declaration_is_a_loss() {
        let numeric = Type { modifier: (12 << 16 | 2) + 4, ..kind(1700, Class::Base) };
        assert_eq!(found(numeric.clone(), Special::Reject), []);
        assert_eq!(found(numeric, Special::Null), [Loss::SpecialValues]);
        assert_eq!(found(kind(23, Class::Base), Special::Null), []);
    }

    #[test]
    fn a_local_time_that_becomes_an_instant_is_a_loss() {
        let data_type = kind(TIMESTAMP, Class::Base);
        assert_eq!(of_values(&Form::Timestamp { utc: true }, &data_type), [Loss::LocalTime]);
        assert_eq!(of_values(&Form::Timestamp { utc: false }, &data_type), []);
    }
}
