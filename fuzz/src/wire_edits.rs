//! Holds the wire crate against prost and against the obvious way to edit a message: the first eight bytes say what to cut and what to put
//! in, the rest is the message.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use wire::{Error, Fields, Kind, Message, Splice, otlp, validate, write};

/// Bytes that choose.
const CHOICES: usize = 8;

/// Validates as prost does; and a message with edits comes out as when every level is written anew.
pub fn check(data: &[u8]) {
    let Some((choices, message)) = data.split_first_chunk::<CHOICES>() else { return };
    let schema = &otlp::export_trace_service_request::MESSAGE;
    let ours = validate(message, schema, 0);
    match (ours, ExportTraceServiceRequest::decode(message)) {
        (Ok(_), Ok(_)) | (Err(_), Err(_)) | (Err(Error::Padded | Error::Group), _) => {}
        (ours, prost) => panic!("{ours:?}, but prost says {:?}", prost.err()),
    }
    if ours.is_err() {
        return;
    }
    let mut splice = Splice::new(message);
    let mut editor = Editor { choices: u64::from_le_bytes(*choices) };
    let expected = editor.edit(message, 0, schema, &mut splice);
    let is_unchanged = splice.is_empty();
    let edited = splice.finish();
    assert_eq!(edited, expected, "the edited message differs");
    assert!(validate(&edited, schema, 0).is_ok(), "the edited message is none");
    if is_unchanged {
        assert_eq!(edited, message);
    }
}

struct Editor {
    choices: u64,
}

impl Editor {
    /// A number below `below`. SplitMix64, so that few bytes make many choices.
    fn choose(&mut self, below: u64) -> u64 {
        self.choices = self.choices.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.choices;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// Notes edits in `splice`, and gives what the content then has to be. `at` is where it starts in the whole message.
    fn edit<'a>(&mut self, content: &'a [u8], at: usize, schema: &Message, splice: &mut Splice<'a>) -> Vec<u8> {
        let mut expected = Vec::new();
        for field in Fields::new(content) {
            let field = field.expect("it was validated");
            let place = at + field.start..at + field.end;
            let kind = schema.fields.iter().find(|(number, _)| *number == field.number).map(|(_, kind)| kind);
            match (self.choose(8), kind) {
                (0, _) => splice.cut(place),
                // A field that no message has, so that what is put in is always legal.
                (1, _) => {
                    let text = vec![b'x'; usize::try_from(self.choose(300)).expect("small")];
                    splice.replace(place, |out| write::bytes_field(out, 1_999, &text));
                    write::bytes_field(&mut expected, 1_999, &text);
                }
                (choice, Some(Kind::Message(inner))) => {
                    let bytes = field.bytes().expect("it was validated");
                    let start = at + field.end - bytes.len();
                    let frame = splice.open(start..start + bytes.len());
                    let inside = self.edit(bytes, start, inner, splice);
                    if choice == 2 {
                        splice.forget(frame);
                        splice.cut(place);
                    } else {
                        splice.close(frame);
                        write::bytes_field(&mut expected, field.number, &inside);
                    }
                }
                _ => expected.extend_from_slice(&content[field.start..field.end]),
            }
        }
        expected
    }
}
