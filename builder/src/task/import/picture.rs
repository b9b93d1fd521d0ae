//! Pictures from elsewhere: decoded within bounds before anything is kept of them.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageFormat, ImageReader, Limits};

use crate::task::sampling::encode_png;
use crate::{Error, Result};

/// Widest and highest picture that is taken in.
pub const MOST_PIXELS_A_SIDE: u32 = 8192;
/// What decoding one may take.
const MOST_MEMORY: u64 = 256 << 20;

/// A PNG of the picture: the very bytes where they are one of 8-bit RGB, else encoded anew. Of PNG, JPEG and WebP.
///
/// # Errors
/// `Image` where it is none, or more than the bounds allow.
pub fn checked(bytes: &[u8]) -> Result<Vec<u8>> {
    let wrong = |error: image::ImageError| Error::Image(error.to_string());
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let format = reader.format().ok_or_else(|| Error::Image("it is no PNG, JPEG or WebP".to_owned()))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_PIXELS_A_SIDE);
    limits.max_image_height = Some(MOST_PIXELS_A_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let image: DynamicImage = reader.decode().map_err(wrong)?;
    if format == ImageFormat::Png && image.color() == ColorType::Rgb8 {
        return Ok(bytes.to_vec());
    }
    encode_png(&image.into_rgb8())
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    #[test]
    fn a_good_png_stays_byte_for_byte() {
        let png = encode_png(&RgbImage::from_pixel(3, 2, Rgb([1, 2, 3]))).unwrap();
        assert_eq!(checked(&png).unwrap(), png);
    }

    #[test]
    fn others_become_png_and_bombs_nothing() {
        let mut jpeg = Vec::new();
        RgbImage::from_pixel(8, 8, Rgb([200, 0, 0])).write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg).unwrap();
        assert_eq!(image::guess_format(&checked(&jpeg).unwrap()).unwrap(), ImageFormat::Png);
        // The header alone of a picture of 40,000 × 40,000.
        let mut bomb = encode_png(&RgbImage::new(1, 1)).unwrap();
        bomb[16..24].copy_from_slice(&[0, 0, 0x9c, 0x40, 0, 0, 0x9c, 0x40]);
        assert!(checked(&bomb).is_err());
        assert!(checked(b"<svg/>").is_err() && checked(b"").is_err());
    }
}
