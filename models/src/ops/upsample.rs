//! Nearest-neighbour upsampling by two, forward and backward.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::storage::{output, slice, tensor, with_slice};
use super::threads::for_chunks;

#[derive(Clone, Copy, Debug)]
pub struct UpsampleNearest2x;

impl CustomOp1 for UpsampleNearest2x {
    fn name(&self) -> &'static str {
        "upsample_nearest2x"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (images, channels, height, width) = layout.shape().dims4()?;
        let x = slice(x, layout)?;
        let mut y = vec![0.; 4 * x.len()];
        let image = channels * height * width;
        for_chunks(&mut y, 4 * image, |i, y, _| {
            let rows = x[i * image..][..image].chunks_exact(width);
            for (x, y) in rows.zip(y.chunks_exact_mut(4 * width)) {
                let (upper, lower) = y.split_at_mut(2 * width);
                for (pair, x) in upper.as_chunks_mut::<2>().0.iter_mut().zip(x) {
                    *pair = [*x; 2];
                }
                lower.copy_from_slice(upper);
            }
            Ok(())
        })?;
        Ok(output(y, (images, channels, 2 * height, 2 * width)))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        if !x.track_op() {
            return Ok(None);
        }
        let (_, channels, height, width) = x.dims4()?;
        let image = channels * height * width;
        let mut dx = vec![0.; x.elem_count()];
        with_slice(dy, |dy| {
            for_chunks(&mut dx, image, |i, dx, _| {
                let rows = dy[4 * i * image..][..4 * image].chunks_exact(4 * width);
                for (dy, dx) in rows.zip(dx.chunks_exact_mut(width)) {
                    let (upper, lower) = dy.split_at(2 * width);
                    let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
                    for (dx, ([a, b], [c, d])) in dx.iter_mut().zip(pairs) {
                        *dx = (a + b) + (c + d);
                    }
                }
                Ok(())
            })
        })?;
        tensor(dx, x.shape()).map(Some)
    }
}
