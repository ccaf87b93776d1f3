use super::*;

fn tree(files: &[(&str, &str)]) -> SourceTree {
    SourceTree {
        files: files
            .iter()
            .map(|(path, content)| SourceFile {
                path: (*path).to_owned(),
                content: Bytes::copy_from_slice(content.as_bytes()),
            })
            .collect(),
    }
}

fn bundle(files: &[(&str, &str)]) -> Rendered {
    render(&tree(files)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn one_manifest_becomes_one_canonical_object() {
    let got = bundle(&[(
        "a.yaml",
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {k: v}\n",
    )]);
    assert_eq!(got.objects.len(), 1);
    assert_eq!(
        got.objects[0].json,
        r#"{"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"name":"a"}}"#
    );
}
