//! The contract evolves by addition only: `contract.txt` lists every field,
//! enum value and RPC that was ever released, and nothing in it may change or
//! go. New lines are added by running this test with `UPDATE_CONTRACT=1`.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::field_descriptor_proto::Label;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorSet};

fn contract() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(lockstep_proto::v1::FILE_DESCRIPTOR_SET)
        .expect("the descriptor set that the build made");
    let mut lines = BTreeSet::new();
    for file in files.file.iter().filter(|f| f.package() == "lockstep.v1") {
        for message in &file.message_type {
            add_message(&mut lines, "", message);
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |yes: bool| if yes { "stream " } else { "" };
                lines.insert(format!(
                    "rpc {}.{} ({}{}) -> {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type()
                ));
            }
        }
    }
    lines
}

fn add_message(lines: &mut BTreeSet<String>, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}{}", message.name());
    for field in &message.field {
        let label = match field.label() {
            Label::Repeated => "repeated ",
            _ if field.proto3_optional() => "optional ",
            _ => "",
        };
        let kind = match field.type_name() {
            "" => format!("{:?}", field.r#type()).to_lowercase(),
            named => named.to_owned(),
        };
        let oneof = match field.oneof_index {
            Some(i) if !field.proto3_optional() => {
                format!(" oneof {}", message.oneof_decl[i as usize].name())
            }
            _ => String::new(),
        };
        lines.insert(format!(
            "field {name}.{} = {} {label}{kind}{oneof}",
            field.name(),
            field.number()
        ));
    }
    for nested in &message.nested_type {
        add_message(lines, &format!("{name}."), nested);
    }
    for values in &message.enum_type {
        add_enum(lines, &name, values);
    }
}

fn add_enum(lines: &mut BTreeSet<String>, scope: &str, values: &EnumDescriptorProto) {
    for value in &values.value {
        lines.insert(format!(
            "enum {scope}.{}.{} = {}",
            values.name(),
            value.name(),
            value.number()
        ));
    }
}

#[test]
fn nothing_released_changes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contract.txt");
    let now = contract();
    if std::env::var_os("UPDATE_CONTRACT").is_some() {
        let text: String = now.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(path, text).expect("contract.txt is writable");
        return;
    }
    let text = std::fs::read_to_string(path).expect("contract.txt");
    let released: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let broken: Vec<_> = released.difference(&now).collect();
    assert!(
        broken.is_empty(),
        "changed or removed, which breaks agents and hubs in use: {broken:#?}"
    );
    let added: Vec<_> = now.difference(&released).collect();
    assert!(
        added.is_empty(),
        "not in contract.txt yet, run with UPDATE_CONTRACT=1: {added:#?}"
    );
}
