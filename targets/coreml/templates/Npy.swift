// Written by edgekit for a Mac. NOT COMPILED where it was written: no Swift compiler was there.
// Reads .npy files of plain little-endian numbers in C order.
import Foundation

/// Shape and values of one array; 64-bit integers keep 53 bits.
struct Array64 {
    let shape: [Int]
    let values: [Double]
    let isInteger: Bool
}

enum Npy {
    static func read(_ place: URL) throws -> Array64 {
        let data = try BundleFiles.read(place)
        let broken = Failure(problem: "\(place.lastPathComponent) is no plain .npy file", fix: "copy the bundle again")
        guard data.count > 12, data.prefix(6).elementsEqual([0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]) else { throw broken }
        let width = data[data.startIndex + 6] == 1 ? 2 : 4
        let length = data.dropFirst(8).prefix(width).reversed().reduce(0) { $0 << 8 | Int($1) }
        let body = data.dropFirst(8 + width + length)
        guard length <= 65536, let header = String(data: data.dropFirst(8 + width).prefix(length), encoding: .isoLatin1),
            header.contains("'fortran_order': False"),
            let kind = match("'descr': *'([<|][a-z][0-9])'", in: header),
            let dims = match("'shape': *\\(([0-9, ]*)\\)", in: header)
        else { throw broken }
        let shape = dims.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        let count = shape.reduce(1, *)
        guard let values = decode(body, kind: kind, count: count) else { throw broken }
        return Array64(shape: shape, values: values, isInteger: !kind.contains("f"))
    }

    private static func decode(_ body: Data, kind: String, count: Int) -> [Double]? {
        switch kind {
        case "<f4": return numbers(body, Float.self, count: count) { Double($0) }
        case "<f8": return numbers(body, Double.self, count: count) { $0 }
        case "<f2": return numbers(body, UInt16.self, count: count) { half($0) }
        case "<i8": return numbers(body, Int64.self, count: count) { Double($0) }
        case "<i4": return numbers(body, Int32.self, count: count) { Double($0) }
        case "<i2": return numbers(body, Int16.self, count: count) { Double($0) }
        case "|i1": return numbers(body, Int8.self, count: count) { Double($0) }
        case "|u1", "|b1": return numbers(body, UInt8.self, count: count) { Double($0) }
        default: return nil
        }
    }

    private static func numbers<Number>(
        _ body: Data, _ type: Number.Type, count: Int, convert: (Number) -> Double
    ) -> [Double]? {
        let size = MemoryLayout<Number>.size
        guard body.count == count * size else { return nil }
        return body.withUnsafeBytes { bytes in
            (0..<count).map { convert(bytes.loadUnaligned(fromByteOffset: $0 * size, as: Number.self)) }
        }
    }

    /// IEEE half precision by its bits: Float16 is not there on Intel Macs.
    private static func half(_ bits: UInt16) -> Double {
        let sign = bits >> 15 == 0 ? 1.0 : -1.0
        let exponent = Int(bits >> 10 & 31)
        let fraction = Double(bits & 1023)
        if exponent == 31 { return fraction == 0 ? sign * Double.infinity : Double.nan }
        if exponent == 0 { return sign * fraction * 0x1p-24 }
        return sign * (1 + fraction / 1024) * pow(2, Double(exponent - 15))
    }

    private static func match(_ pattern: String, in text: String) -> String? {
        guard let expression = try? NSRegularExpression(pattern: pattern),
            let found = expression.firstMatch(in: text, range: NSRange(text.startIndex..., in: text)),
            let range = Range(found.range(at: 1), in: text)
        else { return nil }
        return String(text[range])
    }
}
