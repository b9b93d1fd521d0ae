//! The vocabulary of the world: shapes, colours, sizes and spatial relations, each with its word.

/// Gives an enum its list of values, its word in captions, and the way back.
macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $(#[doc = $word] $variant),+ }

        impl $name {
            /// Every value, in a fixed order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word used in captions and scene graphs.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value that this word names, if the world knows it.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

vocabulary! {
    /// What an object is.
    Shape { Circle => "circle", Square => "square", Triangle => "triangle", Diamond => "diamond", Cross => "cross", Star => "star" }
}

vocabulary! {
    /// The fill of an object.
    Color { Red => "red", Green => "green", Blue => "blue", Yellow => "yellow", Purple => "purple", Orange => "orange", Cyan => "cyan", Black => "black" }
}

vocabulary! {
    /// How large an object is.
    Size { Small => "small", Large => "large" }
}

vocabulary! {
    /// Where the subject lies as seen from the object.
    SpatialRelation { LeftOf => "left of", RightOf => "right of", Above => "above", Below => "below" }
}

impl Color {
    /// The fill, 8-bit sRGB.
    pub const fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [220, 38, 38],
            Self::Green => [34, 160, 70],
            Self::Blue => [45, 75, 220],
            Self::Yellow => [242, 214, 40],
            Self::Purple => [150, 50, 190],
            Self::Orange => [245, 135, 25],
            Self::Cyan => [50, 200, 225],
            Self::Black => [35, 35, 35],
        }
    }
}

impl Size {
    /// Half the extent of a shape, in pixels.
    pub const fn radius(self) -> f32 {
        match self {
            Self::Small => 5.2,
            Self::Large => 8.8,
        }
    }
}

impl SpatialRelation {
    /// The relation of the object to the subject.
    pub const fn inverse(self) -> Self {
        match self {
            Self::LeftOf => Self::RightOf,
            Self::RightOf => Self::LeftOf,
            Self::Above => Self::Below,
            Self::Below => Self::Above,
        }
    }
}
