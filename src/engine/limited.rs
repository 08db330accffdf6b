//! Bincode 2's standard form, read within limits: what `bincode::serde` writes, from bytes that anybody may have sent.
//!
//! A length never takes more memory than there are bytes behind it, and a nesting of more than [`DEPTH`] is refused on the
//! way down, so neither reading such a value nor dropping what was read of it runs out of memory or stack. This holds for
//! every type, a user's state machine included. Bincode's own reader does neither: it takes the memory that a length
//! claims, and follows a recursive type as deep as the bytes go.
//!
//! It accepts just what bincode accepts otherwise: servers of all versions must agree on what an operation says.

use super::entry::DecodeError;
use serde::de::value::U32Deserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt::Display;

/// How deep values may lie within each other: each enum, option, list, map, tuple and struct counts. HTTP takes JSON of at
/// most 64 levels, and a level of JSON is one or two here.
pub(crate) const DEPTH: usize = 192;
/// Most items without any bytes (units, say) in one list: a count costs nothing to claim, and each item costs time.
const EMPTY_ITEMS: usize = 64 * 1024;

impl de::Error for DecodeError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// The value in front of these bytes, and the rest of them.
pub(crate) fn take<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let mut reader = Reader { rest: bytes, depth: 0 };
    let value = T::deserialize(&mut reader)?;
    Ok((value, reader.rest))
}

/// The value in these bytes, which must hold it and nothing else.
pub(crate) fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match take(bytes)? {
        (value, []) => Ok(value),
        (_, rest) => Err(DecodeError::behind(rest.len())),
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    depth: usize,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(|| DecodeError::new("cut short"))?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or_else(|| DecodeError::new("cut short"))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    /// A number of at most so many bytes.
    fn number(&mut self, most: u8) -> Result<u128, DecodeError> {
        let (number, size) = match self.byte()? {
            byte @ 0..=250 => return Ok(byte.into()),
            251 => (u16::from_le_bytes(self.array()?).into(), 2),
            252 => (u32::from_le_bytes(self.array()?).into(), 4),
            253 => (u64::from_le_bytes(self.array()?).into(), 8),
            254 => (u128::from_le_bytes(self.array()?), 16),
            255 => return Err(DecodeError::new("no number begins so")),
        };
        if size > most {
            return Err(DecodeError::new("a number of another type"));
        }
        Ok(number)
    }

    fn unsigned<T: TryFrom<u128>>(&mut self) -> Result<T, DecodeError> {
        let most = u8::try_from(size_of::<T>()).unwrap_or(u8::MAX);
        T::try_from(self.number(most)?).map_err(|_| DecodeError::new("a number of another type"))
    }

    /// Signed numbers are written by turns: 0, -1, 1, -2, 2...
    fn signed<T: TryFrom<i128>>(&mut self) -> Result<T, DecodeError> {
        let most = u8::try_from(size_of::<T>()).unwrap_or(u8::MAX);
        let number = self.number(most)?;
        let half = i128::try_from(number >> 1).map_err(|_| DecodeError::new("a number of another type"))?;
        let signed = if number & 1 == 0 { half } else { -half - 1 };
        T::try_from(signed).map_err(|_| DecodeError::new("a number of another type"))
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        self.unsigned::<u64>()?.try_into().map_err(|_| DecodeError::new("a length beyond all memory"))
    }

    /// A text or bytes.
    fn long(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.length()?;
        self.bytes(length)
    }

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.long()?).map_err(DecodeError::of)
    }

    fn character(&mut self) -> Result<char, DecodeError> {
        let width = match self.rest.first() {
            None => return Err(DecodeError::new("cut short")),
            Some(0x00..=0x7F) => 1,
            Some(0xC2..=0xDF) => 2,
            Some(0xE0..=0xEF) => 3,
            Some(0xF0..=0xF4) => 4,
            Some(_) => return Err(DecodeError::new("no character begins so")),
        };
        let text = std::str::from_utf8(self.bytes(width)?).map_err(DecodeError::of)?;
        text.chars().next().ok_or_else(|| DecodeError::new("no character"))
    }

    /// One level deeper while this is read.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<T, DecodeError> {
        if self.depth >= DEPTH {
            return Err(DecodeError::new(format!("nested more than {DEPTH} deep")));
        }
        self.depth += 1;
        let read = read(self);
        self.depth -= 1;
        read
    }

    fn items<'de, V: Visitor<'de>>(&mut self, left: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.within(|reader| visitor.visit_seq(Items { reader, left }))
    }

    /// How many items there are in a list or map. One without bytes behind each item is no list that was written, unless
    /// its items have none.
    fn count(&mut self) -> Result<usize, DecodeError> {
        let count = self.length()?;
        if count > self.rest.len().max(EMPTY_ITEMS) {
            return Err(DecodeError::new("more items than bytes"));
        }
        Ok(count)
    }
}

/// The items of a list, or the keys and values of a map.
struct Items<'r, 'a> {
    reader: &'r mut Reader<'a>,
    left: usize,
}

impl Items<'_, '_> {
    /// What the visitor may take memory for.
    fn hint(&self) -> usize {
        self.left.min(self.reader.rest.len())
    }
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.hint())
    }
}

impl<'de> EnumAccess<'de> for &mut Reader<'_> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let number: u32 = self.unsigned()?;
        let number: U32Deserializer<DecodeError> = number.into_deserializer();
        Ok((seed.deserialize(number)?, self))
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'_> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Items { reader: self, left: length })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        visitor.visit_seq(Items { reader: self, left: fields.len() })
    }
}

/// Numbers, each as it is written.
macro_rules! numbers {
    ($($method:ident $visit:ident $read:ident,)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            visitor.$visit(self.$read()?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Reader<'_> {
    type Error = DecodeError;

    numbers! {
        deserialize_i16 visit_i16 signed,
        deserialize_i32 visit_i32 signed,
        deserialize_i64 visit_i64 signed,
        deserialize_i128 visit_i128 signed,
        deserialize_u8 visit_u8 byte,
        deserialize_u16 visit_u16 unsigned,
        deserialize_u32 visit_u32 unsigned,
        deserialize_u64 visit_u64 unsigned,
        deserialize_u128 visit_u128 unsigned,
        deserialize_char visit_char character,
        deserialize_str visit_str text,
        deserialize_bytes visit_bytes long,
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.byte()? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            _ => Err(DecodeError::new("neither true nor false")),
        }
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_i8(i8::from_le_bytes(self.array()?))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f32(f32::from_le_bytes(self.array()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_f64(f64::from_le_bytes(self.array()?))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_string(self.text()?.to_owned())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_byte_buf(self.long()?.to_owned())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.byte()? {
            0 => visitor.visit_none(),
            1 => self.within(|reader| visitor.visit_some(reader)),
            _ => Err(DecodeError::new("neither something nor nothing")),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.within(|reader| visitor.visit_newtype_struct(reader))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let count = self.count()?;
        self.items(count, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.items(length, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.items(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let left = self.count()?;
        self.within(|reader| visitor.visit_map(Items { reader, left }))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.items(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.within(|reader| visitor.visit_enum(reader))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DecodeError> {
        Err(DecodeError::new("the bytes do not say of what type they are"))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Command, Predicate};
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    /// One of everything that serde tells apart.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        signed: (i8, i16, i32, i64, i128),
        unsigned: (u8, u16, u32, u64, u128),
        real: (f32, f64),
        texts: Vec<String>,
        characters: [char; 5],
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
        numbers: Vec<u8>,
        maybe: (Option<bool>, Option<()>),
        map: BTreeMap<u16, Each>,
        units: Vec<()>,
        new: New,
        list: Vec<Each>,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New(Box<u32>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Each {
        Unit,
        New(i64),
        Tuple(u8, u8),
        Struct { a: bool, b: () },
    }

    fn all(unsigned: (u8, u16, u32, u64, u128), signed: (i8, i16, i32, i64, i128)) -> All {
        All {
            signed,
            unsigned,
            real: (1.5, f64::NEG_INFINITY),
            texts: vec![String::new(), "ä text".into()],
            characters: ['a', 'ß', '€', '𝄞', '\0'],
            bytes: vec![1; 260],
            numbers: vec![255; 3],
            maybe: (Some(true), None),
            map: [(1, Each::Unit), (70, Each::New(-70_000))].into(),
            units: vec![(); 9],
            new: New(Box::new(99_999)),
            list: vec![Each::Tuple(7, 8), Each::Struct { a: false, b: () }],
        }
    }

    fn write(value: &All) -> Vec<u8> {
        bincode::serde::encode_to_vec(value, bincode::config::standard()).unwrap()
    }

    /// The bytes of what bincode reads here: not all that is read is equal to itself.
    fn bincodes(bytes: &[u8]) -> Option<Vec<u8>> {
        let read = bincode::serde::decode_from_slice::<All, _>(bytes, crate::engine::entry::config()).ok()?;
        (read.1 == bytes.len()).then(|| write(&read.0))
    }

    #[test]
    fn what_bincode_writes_is_read_and_what_it_refuses_is_refused() {
        let values = [
            all((0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
            all((250, 251, 252, 253, 254), (-1, 125, -126, 127, -128)),
            all((255, u16::MAX, u32::MAX, u64::MAX, u128::MAX), (i8::MIN, i16::MIN, i32::MIN, i64::MIN, i128::MIN)),
            all((1, 300, 70_000, 1 << 33, 1 << 70), (i8::MAX, i16::MAX, i32::MAX, i64::MAX, i128::MAX)),
        ];
        for value in &values {
            let bytes = write(value);
            assert_eq!(whole::<All>(&bytes).as_ref(), Ok(value));
            assert_eq!(take::<All>(&[bytes.as_slice(), b"rest"].concat()).map(|(_, rest)| rest.len()), Ok(4));
            for at in 0..bytes.len() {
                assert!(whole::<All>(&bytes[..at]).is_err(), "cut at {at}");
                for byte in [0, 1, 2, 250, 251, 252, 253, 254, 255, 0x80, 0xC0] {
                    let mut other = bytes.clone();
                    other[at] = byte;
                    // A list of units is bounded here, and costs bincode hours.
                    let ours = whole::<All>(&other).ok().map(|value| write(&value));
                    if ours.is_some() || !matches!(byte, 252..=254) {
                        assert!(ours == bincodes(&other), "byte {at} is {byte}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_length_takes_no_memory_that_no_bytes_are_behind() {
        let claims: [&[u8]; 3] = [b"\xfb\xff\xff", b"\xfc\xff\xff\xff\x7f", b"\xfd\0\0\0\0\0\0\0\x40"];
        for claim in claims {
            let bytes = [claim, b"abc"].concat();
            assert!(whole::<serde_bytes::ByteBuf>(&bytes).is_err());
            assert!(whole::<String>(&bytes).is_err());
            assert!(whole::<Vec<[u64; 32]>>(&bytes).is_err());
            assert!(whole::<BTreeMap<u64, u64>>(&bytes).is_err());
            if claim.len() > 3 {
                assert!(whole::<Vec<()>>(claim).is_err(), "items without bytes");
            }
        }
    }

    #[test]
    fn nesting_has_a_limit_and_below_it_everything_is_read() {
        let nested = |depth: usize| [b"\x05\0\0".repeat(depth), b"\x01\x01k\0".to_vec()].concat();
        for depth in [1_000_000, 10_000, DEPTH] {
            assert!(whole::<Command>(&nested(depth)).is_err(), "{depth} commands in each other");
        }
        assert!(whole::<Command>(&nested(DEPTH - 2)).is_ok());
        let batches = |depth: usize| [b"\x04\x01".repeat(depth), b"\x04\0".to_vec()].concat();
        assert!(whole::<Command>(&batches(1_000_000)).is_err());
        assert!(whole::<Command>(&batches(DEPTH / 2 - 2)).is_ok());
        for (within, each) in [(b"\0\x01".as_slice(), 2), (b"\x01\x01", 2), (b"\x02", 1)] {
            let predicate = |depth: usize| [within.repeat(depth), b"\0\0".to_vec()].concat();
            assert!(whole::<Predicate>(&predicate(1_000_000)).is_err());
            assert!(whole::<Predicate>(&predicate(DEPTH / each - 2)).is_ok());
        }
    }
}
