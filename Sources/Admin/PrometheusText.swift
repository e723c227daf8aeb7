/// Writes the Prometheus text exposition format, version 0.0.4.
///
/// A family is opened once by its name, kind and help; its samples follow. Names and label names are the program's own
/// and are checked as programming errors; label values and help may be anything and are escaped.
/// Source: https://prometheus.io/docs/instrumenting/exposition_formats/
package struct PrometheusText {
    package enum Kind: String, Sendable {
        case counter, gauge, histogram, untyped
    }

    /// Label names and values, in the order in which they are written.
    package typealias Labels = KeyValuePairs<String, String>

    /// What the scraper expects in `Content-Type`.
    package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    /// Everything written so far.
    package private(set) var text = ""
    private var family = ""
    private var opened: Set<String> = []

    package init() { text.reserveCapacity(16 << 10) }

    /// Opens a family. Each name once.
    package mutating func family(_ name: String, _ kind: Kind, help: String) {
        precondition(PrometheusText.isName(name, colons: true), "not a metric name: \(name)")
        precondition(opened.insert(name).inserted, "metric \(name) is written twice")
        family = name
        text += "# HELP \(name) "
        PrometheusText.escape(help, quotes: false, into: &text)
        text += "\n# TYPE \(name) \(kind.rawValue)\n"
    }

    /// A sample of the open family.
    package mutating func sample(_ value: UInt64, _ labels: Labels = [:]) { write(suffix: "", labels, String(value)) }

    /// A sample of the open family.
    package mutating func sample(_ value: Int, _ labels: Labels = [:]) { write(suffix: "", labels, String(value)) }

    /// A sample of the open family.
    package mutating func sample(_ value: Double, _ labels: Labels = [:]) {
        write(suffix: "", labels, PrometheusText.number(value))
    }

    /// A histogram of the open family. `counts[i]` is the number of observations at most `bounds[i]` and above the
    /// bound before it; the last of `counts`, one more than there are bounds, holds what is above all of them.
    package mutating func histogram(bounds: [Double], counts: [UInt64], sum: Double, _ labels: Labels = [:]) {
        precondition(counts.count == bounds.count + 1, "a histogram has one count more than bounds")
        var total: UInt64 = 0
        for (index, count) in counts.enumerated() {
            total += count
            let bound = index < bounds.count ? PrometheusText.number(bounds[index]) : "+Inf"
            write(suffix: "_bucket", labels, String(total), bound: bound)
        }
        write(suffix: "_sum", labels, PrometheusText.number(sum))
        write(suffix: "_count", labels, String(total))
    }

    private mutating func write(suffix: String, _ labels: Labels, _ value: String, bound: String? = nil) {
        precondition(!family.isEmpty, "a sample before its family")
        text += family
        text += suffix
        if !labels.isEmpty || bound != nil {
            var separator = "{"
            for (name, value) in labels {
                precondition(PrometheusText.isName(name, colons: false), "not a label name: \(name)")
                text += separator + name + "=\""
                PrometheusText.escape(value, quotes: true, into: &text)
                text += "\""
                separator = ","
            }
            if let bound { text += separator + "le=\"" + bound + "\"" }
            text += "}"
        }
        text += " " + value + "\n"
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        if let whole = Int64(exactly: value) { return String(whole) }
        return String(value)
    }

    private static func escape(_ value: String, quotes: Bool, into text: inout String) {
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\"" where quotes: text += "\\\""
            default: text.unicodeScalars.append(scalar)
            }
        }
    }

    private static func isName(_ name: String, colons: Bool) -> Bool {
        guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
            return false
        }
        return name.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "_")
                || (colons && byte == UInt8(ascii: ":"))
        }
    }
}
