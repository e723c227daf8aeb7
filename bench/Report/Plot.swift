import Glibc

/// Plots as SVG, by hand. Colours are classes that the page's style gives a light and a dark value.
enum Plot {
    struct Bar {
        var label: String
        /// nil: `absence` says why there is none.
        var value: Double?
        var absence: String?
    }

    struct Range {
        var label: String
        var low: Double
        var middle: Double
        var high: Double
    }

    private static let width = 340.0
    private static let left = 98.0
    private static let right = 62.0
    private static let row = 27.0

    /// One horizontal bar for each row, from zero, with its value at the end.
    static func bars(_ rows: [Bar], title: String) -> String {
        let largest = rows.compactMap(\.value).max() ?? 0
        let room = width - left - right
        var out = ""
        for (index, bar) in rows.enumerated() {
            let middle = Double(index) * row + row / 2
            out += text(bar.label, x: left - 8, y: middle + 4, anchor: "end")
            if let value = bar.value {
                let length = largest > 0 ? max(1, value / largest * room) : 1
                out +=
                    "<rect class=\"\(colour(bar.label))\" x=\"\(n(left))\" y=\"\(n(middle - 9))\" "
                    + "width=\"\(n(length))\" height=\"18\" rx=\"2\"/>"
                out += text(format(value), x: left + length + 6, y: middle + 4)
            } else {
                out += text("not run", x: left + 2, y: middle + 4, isSoft: true, hint: bar.absence)
            }
        }
        return svg(out, height: Double(rows.count) * row, title: title)
    }

    /// From the low to the high value on a logarithmic scale, with a mark at each of the three.
    static func ranges(_ rows: [Range], title: String) -> String {
        let values = rows.flatMap { [$0.low, $0.middle, $0.high] }.filter { $0 > 0 && $0.isFinite }
        let first = floor(log10(values.min() ?? 1))
        let last = max(first + 1, ceil(log10(values.max() ?? 10)))
        let room = width - left - right
        func x(_ value: Double) -> Double { left + (log10(max(value, pow(10, first))) - first) / (last - first) * room }
        let bottom = Double(rows.count) * row
        var out = ""
        var power = first
        while power <= last {
            let at = x(pow(10, power))
            out += line(at, 0, at, bottom, kind: "grid")
            let label = power >= 0 && power < 16 ? "\(Int(pow(10, power)))" : format(pow(10, power))
            out += text(label, x: at, y: bottom + 14, anchor: "middle", isSoft: true)
            power += 1
        }
        for (index, range) in rows.enumerated() {
            let middle = Double(index) * row + row / 2
            out += text(range.label, x: left - 8, y: middle + 4, anchor: "end")
            let kind = colour(range.label)
            out += line(x(range.low), middle, x(range.high), middle, kind: kind, thickness: 3)
            for (value, radius) in [(range.low, 3.5), (range.middle, 4.5), (range.high, 5.5)] {
                out += "<circle class=\"\(kind)\" cx=\"\(n(x(value)))\" cy=\"\(n(middle))\" r=\"\(n(radius))\"/>"
            }
            out += text(format(range.high), x: x(range.high) + 10, y: middle + 4)
        }
        return svg(out, height: bottom + 20, title: title)
    }

    /// Steps over time. What catches up after a fault may be many times the usual rate: it is cut at three times the
    /// rate before the fault, so that the silence stays visible.
    ///
    /// `end` is the axis's, so that several timelines can stand under each other.
    static func timeline(_ timeline: Timeline, to end: Double) -> String {
        let width = 1040.0
        let height = 90.0
        let margin = 56.0
        let before = timeline.rates.prefix(max(1, Int((-timeline.start / timeline.step).rounded())))
        let usual = median(Array(before)) ?? 0
        let top = max(1, usual > 0 ? 3 * usual : timeline.rates.max() ?? 1)
        let scale = (width - margin - 12) / max(timeline.step, end - timeline.start) * timeline.step
        func x(_ seconds: Double) -> Double { margin + (seconds - timeline.start) / timeline.step * scale }
        func y(_ rate: Double) -> Double { height - min(rate, top) / top * (height - 6) }
        var out = ""
        for level in usual > 0 ? [0, usual, 3 * usual] : [0, top] {
            out += line(margin, y(level), width - 8, y(level), kind: "grid")
            out += text(format(level), x: margin - 8, y: y(level) + 4, anchor: "end", isSoft: true)
        }
        var second = timeline.start.rounded()
        while second <= end, second < 1000 {
            out += text("\(Int(second))", x: x(second), y: height + 16, anchor: "middle", isSoft: true)
            second += 1
        }
        var path = "M\(n(margin)) \(n(height))"
        for (index, rate) in timeline.rates.enumerated() {
            let from = margin + Double(index) * scale
            path += "L\(n(from)) \(n(y(rate)))L\(n(from + scale)) \(n(y(rate)))"
        }
        path += "L\(n(margin + Double(timeline.rates.count) * scale)) \(n(height))Z"
        out +=
            "<path class=\"\(colour(timeline.target))\" fill-opacity=\"0.35\" stroke-width=\"1.5\" d=\"\(path)\"/>"
        out += line(x(0), 0, x(0), height, kind: "c-cut", thickness: 1.5)
        return svg(out, width: width, height: height + 22, title: "\(timeline.target): \(timeline.title)")
    }

    /// Everything of one target has one colour.
    static func colour(_ target: String) -> String {
        switch target {
        case CompareTarget.cluster.label: "c-cluster"
        case CompareTarget.redisMode.label: "c-mode"
        case CompareTarget.redis.label: "c-redis"
        case let other where other.hasPrefix("vencejo"): "c-cluster"
        default: "c-other"
        }
    }

    private static func svg(_ content: String, width: Double = width, height: Double, title: String) -> String {
        "<svg viewBox=\"0 0 \(n(width)) \(n(height))\" role=\"img\"><title>\(HTMLReport.escape(title))</title>"
            + content + "</svg>"
    }

    private static func text(
        _ text: String,
        x: Double,
        y: Double,
        anchor: String = "start",
        isSoft: Bool = false,
        hint: String? = nil
    ) -> String {
        let title = hint.map { "<title>\(HTMLReport.escape($0))</title>" } ?? ""
        return "<text x=\"\(n(x))\" y=\"\(n(y))\" text-anchor=\"\(anchor)\"\(isSoft ? " class=\"soft\"" : "")>"
            + HTMLReport.escape(text) + title + "</text>"
    }

    private static func line(
        _ x1: Double,
        _ y1: Double,
        _ x2: Double,
        _ y2: Double,
        kind: String,
        thickness: Double = 1
    ) -> String {
        "<line class=\"\(kind)\" x1=\"\(n(x1))\" y1=\"\(n(y1))\" x2=\"\(n(x2))\" y2=\"\(n(y2))\" "
            + "stroke-width=\"\(n(thickness))\"/>"
    }

    /// A coordinate with one decimal.
    private static func n(_ value: Double) -> String {
        guard value.isFinite else { return "0" }
        let tenths = Int((value * 10).rounded())
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
    }
}
