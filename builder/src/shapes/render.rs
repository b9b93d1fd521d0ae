//! The renderer: a layout to pixels, anti-aliased.

use super::layout::Layout;
use super::words::Shape;
use image::{Rgb, RgbImage};

/// Width and height of a picture, in pixels.
pub const IMAGE_SIZE: u32 = 64;
/// Fill of the background, 8-bit sRGB.
pub const BACKGROUND: [u8; 3] = [238, 238, 238];
/// Samples a pixel along each axis.
const OVERSAMPLING: u32 = 4;

/// Whether a point lies inside a shape of radius 1 around the origin; y grows downwards.
pub fn inside_shape(shape: Shape, x: f32, y: f32) -> bool {
    match shape {
        Shape::Circle => x * x + y * y <= 0.92,
        Shape::Square => x.abs().max(y.abs()) <= 0.82,
        Shape::Triangle => (-1.0..=0.8).contains(&y) && x.abs() <= (y + 1.0) * 0.56,
        Shape::Diamond => x.abs() / 0.72 + y.abs() <= 1.0,
        Shape::Cross => x.abs().max(y.abs()) <= 1.0 && x.abs().min(y.abs()) <= 0.3,
        Shape::Star => inside_star(x, y),
    }
}

/// A five-pointed star, one point upwards.
fn inside_star(x: f32, y: f32) -> bool {
    const INNER: f32 = 0.42;
    let sector = std::f32::consts::PI / 5.0;
    let radius = x.hypot(y);
    // Angle from the nearest outer point, 0 ..= π/5 (where the inner corner lies).
    let angle = (x.atan2(-y).abs() % (2.0 * sector)).min(2.0 * sector - x.atan2(-y).abs() % (2.0 * sector));
    // The edge runs from (1, angle 0) to (INNER, angle π/5).
    let (ex, ey) = (INNER * sector.cos() - 1.0, INNER * sector.sin());
    let (px, py) = (radius * angle.cos() - 1.0, radius * angle.sin());
    ex * py - ey * px >= 0.0
}

/// The picture of a layout, `IMAGE_SIZE` squared.
pub fn render(layout: &Layout) -> RgbImage {
    let mut image = RgbImage::from_pixel(IMAGE_SIZE, IMAGE_SIZE, Rgb(BACKGROUND));
    for object in &layout.objects {
        let radius = object.size.radius();
        let low = |centre: f32| (centre - radius - 1.0).max(0.0) as u32;
        let high = |centre: f32| ((centre + radius + 2.0).max(0.0) as u32).min(IMAGE_SIZE);
        for py in low(object.y)..high(object.y) {
            for px in low(object.x)..high(object.x) {
                let coverage = coverage(object.shape, px as f32 - object.x, py as f32 - object.y, radius);
                let pixel = image.get_pixel_mut(px, py);
                for (channel, fill) in pixel.0.iter_mut().zip(object.color.rgb()) {
                    *channel = (f32::from(*channel) * (1.0 - coverage) + f32::from(fill) * coverage).round() as u8;
                }
            }
        }
    }
    image
}

/// Share of the pixel at this offset from the centre that the shape covers, 0 ..= 1.
fn coverage(shape: Shape, dx: f32, dy: f32, radius: f32) -> f32 {
    let step = 1.0 / OVERSAMPLING as f32;
    let hits = (0..OVERSAMPLING * OVERSAMPLING)
        .filter(|i| {
            let x = dx + ((i % OVERSAMPLING) as f32 + 0.5) * step;
            let y = dy + ((i / OVERSAMPLING) as f32 + 0.5) * step;
            inside_shape(shape, x / radius, y / radius)
        })
        .count();
    hits as f32 * step * step
}
