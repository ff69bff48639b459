//! From a picture to the tensor that a model takes. The picture's size is read before its pixels, so that a small file
//! cannot ask for a large memory.

use std::io::Cursor;

use bytes::Bytes;
use host_engine::{ElementType, Tensor};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, imageops::FilterType};

use crate::{
    error::{Error, Fault},
    manifest::{Color, Filter, Layout, Preprocess},
};

/// Bytes that a decoder may take for each pixel; 16 bits in four channels and room to work.
const BYTES_PER_PIXEL_MAX: u64 = 16;

/// Reads a PNG or JPEG and makes one batch of one tensor of it: FP32, or UINT8 for models that take pixels as they are.
pub fn tensor(preprocess: &Preprocess, element_type: ElementType, file: &[u8], pixels_max: u64) -> Result<Tensor, Error> {
    let pixels = pixels(preprocess, &decode(file, pixels_max)?);
    let (channels, size) = (preprocess.channels(), preprocess.resize);
    let (width, height) = (size.width as usize, size.height as usize);
    let shape = match preprocess.layout {
        Layout::Nchw => vec![1, channels, height, width],
        Layout::Nhwc => vec![1, height, width, channels],
    };
    let ordered: Vec<(u8, usize)> = match preprocess.layout {
        Layout::Nhwc => pixels.iter().enumerate().map(|(index, &value)| (value, index % channels)).collect(),
        Layout::Nchw => (0..channels).flat_map(|channel| pixels.iter().skip(channel).step_by(channels).map(move |&value| (value, channel))).collect(),
    };
    let data: Vec<u8> = match element_type {
        ElementType::Uint8 => ordered.into_iter().map(|(value, _)| value).collect(),
        _ => ordered.into_iter().flat_map(|(value, channel)| scaled(preprocess, value, channel).to_le_bytes()).collect(),
    };
    let element_type = if element_type == ElementType::Uint8 { element_type } else { ElementType::Fp32 };
    Ok(Tensor::new(element_type, shape, Bytes::from(data))?)
}

fn scaled(preprocess: &Preprocess, value: u8, channel: usize) -> f32 {
    let mean = preprocess.mean.get(channel).copied().unwrap_or(0.0);
    let std = preprocess.std.get(channel).copied().unwrap_or(1.0);
    (f32::from(value) * preprocess.scale - mean) / std
}

/// Row by row, channels together.
fn pixels(preprocess: &Preprocess, picture: &DynamicImage) -> Vec<u8> {
    let (width, height) = (preprocess.resize.width, preprocess.resize.height);
    let filter = match preprocess.resize.filter {
        Filter::Nearest => FilterType::Nearest,
        Filter::Triangle => FilterType::Triangle,
    };
    let sized = if (picture.width(), picture.height()) == (width, height) { picture.clone() } else { picture.resize_exact(width, height, filter) };
    match preprocess.color {
        Color::Grayscale => sized.into_luma8().into_raw(),
        Color::Rgb => sized.into_rgb8().into_raw(),
    }
}

fn decode(file: &[u8], pixels_max: u64) -> Result<DynamicImage, Error> {
    let fault = |error: image::ImageError| Error::from(Fault::Picture { reason: error.to_string() });
    let io_fault = |error: std::io::Error| Error::from(Fault::Picture { reason: error.to_string() });
    if file.is_empty() {
        return Err(Fault::Picture { reason: "it is empty".into() }.into());
    }
    let mut reader = ImageReader::new(Cursor::new(file)).with_guessed_format().map_err(io_fault)?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(Fault::Picture { reason: "its first bytes are those of neither PNG nor JPEG".into() }.into());
    }
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(pixels_max.saturating_mul(BYTES_PER_PIXEL_MAX).max(1 << 20));
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(fault)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > pixels_max {
        return Err(Fault::PictureTooLarge { width, height, pixels_max }.into());
    }
    DynamicImage::from_decoder(decoder).map_err(fault)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::RgbImage;

    use super::*;
    use crate::manifest::Manifest;

    fn preprocess(yaml: &str) -> Preprocess {
        Manifest::parse(Path::new("model.yaml"), &format!("preprocess: {yaml}")).expect("sound").preprocess.expect("stated")
    }

    fn png(width: u32, height: u32, color: impl Fn(u32, u32) -> [u8; 3]) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        RgbImage::from_fn(width, height, |x, y| image::Rgb(color(x, y))).write_to(&mut file, ImageFormat::Png).expect("to memory");
        file.into_inner()
    }

    #[test]
    fn a_picture_becomes_channels_first_or_last_with_mean_and_deviation() {
        let file = png(2, 1, |x, _| [x as u8 * 100, 10, 20]);
        let first = preprocess("{ color: rgb, resize: { width: 2, height: 1 }, scale: 1, mean: [0, 10, 10], std: [1, 1, 2], layout: nchw }");
        let tensor_first = tensor(&first, ElementType::Fp32, &file, 100).expect("a picture");
        assert_eq!(tensor_first.shape(), [1, 3, 1, 2]);
        assert_eq!(tensor_first.to_f32(), Some(vec![0.0, 100.0, 0.0, 0.0, 5.0, 5.0]));
        let last = preprocess("{ color: rgb, resize: { width: 2, height: 1 }, layout: nhwc }");
        let tensor_last = tensor(&last, ElementType::Uint8, &file, 100).expect("a picture");
        assert_eq!(tensor_last.shape(), [1, 1, 2, 3]);
        assert_eq!(tensor_last.data().as_ref(), [0, 10, 20, 100, 10, 20]);
    }

    #[test]
    fn squares_of_one_colour_shrink_to_their_colour() {
        let file = png(32, 32, |x, y| [(x / 4 * 8 + y / 4) as u8; 3]);
        let small = preprocess("{ color: grayscale, resize: { width: 8, height: 8, filter: nearest } }");
        let values = tensor(&small, ElementType::Fp32, &file, 1024).expect("a picture").to_f32().expect("FP32");
        assert_eq!(values, (0..64).map(|index| (index % 8 * 8 + index / 8) as f32).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_no_picture_is_cut_short_or_too_large_is_said_so() {
        let preprocess = preprocess("{ color: rgb, resize: { width: 2, height: 2 } }");
        let whole = png(40, 40, |x, y| [x as u8, y as u8, 7]);
        let message = |file: &[u8], pixels_max| tensor(&preprocess, ElementType::Fp32, file, pixels_max).expect_err("refused").to_string();
        assert_eq!(message(b"GIF89a", 100), "the body is no picture that can be read: its first bytes are those of neither PNG nor JPEG");
        assert_eq!(message(&whole, 1599), "the picture has 40 x 40 = 1600 pixels, at most 1599 are accepted");
        assert!(message(&whole[..whole.len() / 2], 1600).starts_with("the body is no picture that can be read: "));
        assert_eq!(message(b"", 100), "the body is no picture that can be read: it is empty");
    }
}
