//! The macro behind every closed set of the contract: a field-less enum, its text, and back.

/// Declares closed sets. An unknown text parses to `None`; what that means is the caller's decision.
macro_rules! closed_sets {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every member, in the registry's order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// The texts of all members, in the same order.
            pub const TEXTS: &'static [&'static str] = &[$($text,)+];

            /// The text that stands for the member on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The member with exactly this text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    )+};
}
pub(crate) use closed_sets;
