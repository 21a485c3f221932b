// Files for download: IDX, the format of MNIST, and a ZIP without compression that holds several.

// Bytes of an IDX file: values of uint8 with the sizes `shape`.
export function idx(values, shape) {
  const file = new Uint8Array(4 + 4 * shape.length + values.length), view = new DataView(file.buffer);
  view.setUint32(0, 0x0800 + shape.length);
  shape.forEach((size, i) => view.setUint32(4 + 4 * i, size));
  file.set(values, 4 + 4 * shape.length);
  return file;
}

// A ZIP of files { name: Uint8Array }, as a Blob (APPNOTE of PKWARE, "stored").
export function zip(files) {
  const parts = [], directory = [];
  let at = 0;
  for (const [name, content] of Object.entries(files)) {
    const title = new TextEncoder().encode(name), sum = crc32(content);
    // version, flags: UTF-8, stored, time, date (1 January 2000), checksum, two sizes, length of the name, no more
    const sizes = [[4, content.length], [4, content.length], [2, title.length], [2, 0]];
    const common = [[2, 20], [2, 0x0800], [2, 0], [2, 0], [2, 0x2821], [4, sum], ...sizes];
    const local = fields([[4, 0x04034b50], ...common]);
    parts.push(local, title, content);
    directory.push(fields([[4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]]), title);
    at += local.length + title.length + content.length;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0), count = directory.length / 2;
  const end = fields([[4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, length], [4, at], [2, 0]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

// Little-endian numbers, each [bytes, value].
function fields(numbers) {
  const found = new Uint8Array(numbers.reduce((sum, [bytes]) => sum + bytes, 0)), view = new DataView(found.buffer);
  let at = 0;
  for (const [bytes, value] of numbers) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return found;
}

function crc32(content) {
  let sum = ~0;
  for (const byte of content) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}
