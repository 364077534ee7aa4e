//! Frames (of 20 ms, usually) as they go over the wire: a masked WebSocket text frame around one `input_audio_buffer.append`. Made
//! once, sent by every connection that has the same to say.

use base64::{Engine, engine::general_purpose::STANDARD};

const RATE: usize = 24_000;
const NOISE_DBFS: f64 = -55.0;
const NOISE_SECONDS: usize = 10;
/// One key for all: it only has to be there.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x21, 0x9e];

pub type Frames = Vec<Box<[u8]>>;

/// How many samples a frame has.
pub fn samples(frame_ms: usize) -> usize {
    RATE / 1000 * frame_ms
}

/// Digital silence: one frame.
pub fn silence(frame: usize) -> Frames {
    frames(&vec![0; frame], frame)
}

/// A quiet room, 10 s in a loop; the same in every run.
pub fn room(frame: usize) -> Frames {
    frames(&room_samples(RATE * NOISE_SECONDS), frame)
}

/// The word as it is heard in that room; its last frame is filled up with room.
pub fn spoken(word: &[i16], frame: usize) -> Frames {
    let length = word.len().div_ceil(frame) * frame;
    let mut mixed = room_samples(length);
    for (sample, spoken) in mixed.iter_mut().zip(word) {
        *sample = sample.saturating_add(*spoken);
    }
    frames(&mixed, frame)
}

/// Gaussian noise through a one-pole low-pass: rooms hum more than they hiss.
fn room_samples(count: usize) -> Vec<i16> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut low = 0.0;
    let noise: Vec<f64> = (0..count)
        .map(|_| {
            let gaussian = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            low += 0.1 * (gaussian - low);
            low
        })
        .collect();
    let rms = (noise.iter().map(|sample| sample * sample).sum::<f64>() / count as f64).sqrt();
    let scale = 32_768.0 * 10_f64.powf(NOISE_DBFS / 20.0) / rms;
    noise.iter().map(|sample| (sample * scale).round() as i16).collect()
}

fn frames(samples: &[i16], frame: usize) -> Frames {
    samples.chunks_exact(frame).map(append).collect()
}

fn append(samples: &[i16]) -> Box<[u8]> {
    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let audio = STANDARD.encode(bytes);
    let text = format!(r#"{{"type":"input_audio_buffer.append","audio":"{audio}"}}"#);
    let length = u16::try_from(text.len()).expect("500 ms are 32 KB");
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend(length.to_be_bytes());
    frame.extend(MASK);
    frame.extend(text.bytes().enumerate().map(|(index, byte)| byte ^ MASK[index % MASK.len()]));
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_as_loud_as_it_says() {
        let samples = room_samples(RATE);
        let power = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum::<f64>() / samples.len() as f64;
        let dbfs = 20.0 * (power.sqrt() / 32_768.0).log10();
        assert!((dbfs - NOISE_DBFS).abs() < 0.1, "{dbfs}");
    }

    #[test]
    fn a_frame_unmasks_to_the_event() {
        let frame = &silence(480)[0];
        let text: Vec<u8> = frame[8..].iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]).collect();
        let event: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(event["type"], "input_audio_buffer.append");
        assert_eq!(STANDARD.decode(event["audio"].as_str().unwrap()).unwrap(), vec![0; 960]);
    }

    #[test]
    fn a_word_that_ends_within_a_frame_is_sent_whole() {
        assert_eq!(spoken(&[1000; 481], 480).len(), 2);
    }
}
