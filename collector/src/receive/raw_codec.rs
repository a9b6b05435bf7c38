//! A gRPC codec that passes a message on as the bytes that it is: the sanitizer reads them, and nothing else does.

use bytes::{Buf as _, BufMut as _, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Encodes and decodes messages as [`Bytes`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = OneMessage;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> OneMessage {
        OneMessage::default()
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

/// Decodes the one message of a unary call. The library reads what comes after it and throws it away; a sender would never learn of that.
#[derive(Debug, Default)]
pub struct OneMessage {
    seen: bool,
}

impl Decoder for OneMessage {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        if std::mem::replace(&mut self.seen, true) {
            return Err(Status::invalid_argument("a call of this method takes one message; send each in a call of its own"));
        }
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
