import Admin
import Testing

@Suite struct PrometheusTextTests {
    @Test("help and label values are escaped as the exposition format says")
    func escaping() {
        var text = PrometheusText()
        text.family("active_connections", .gauge, help: "open\nones \\ \"q\"")
        text.sample(3, ["node": "n\"1\\\n", "zone": "é"])
        text.sample(UInt64.max)
        #expect(
            text.text == """
                # HELP active_connections open\\nones \\\\ "q"
                # TYPE active_connections gauge
                active_connections{node="n\\"1\\\\\\n",zone="é"} 3
                active_connections 18446744073709551615

                """
        )
    }

    @Test("a histogram's buckets are cumulative and end with infinity")
    func histogram() {
        var text = PrometheusText()
        text.family("message_latency_seconds", .histogram, help: "h")
        text.histogram(bounds: [0.1, 0.5, 1], counts: [1, 2, 0, 4], sum: 12.5, ["class": "guaranteed"])
        #expect(
            text.text.split(separator: "\n").dropFirst(2).map(String.init) == [
                "message_latency_seconds_bucket{class=\"guaranteed\",le=\"0.1\"} 1",
                "message_latency_seconds_bucket{class=\"guaranteed\",le=\"0.5\"} 3",
                "message_latency_seconds_bucket{class=\"guaranteed\",le=\"1\"} 3",
                "message_latency_seconds_bucket{class=\"guaranteed\",le=\"+Inf\"} 7",
                "message_latency_seconds_sum{class=\"guaranteed\"} 12.5",
                "message_latency_seconds_count{class=\"guaranteed\"} 7",
            ]
        )
    }

    @Test("numbers have the forms that scrapers read")
    func numbers() {
        var text = PrometheusText()
        text.family("x", .untyped, help: "")
        for value in [0.0, -1.5, 1e300, .infinity, -.infinity, .nan] { text.sample(value) }
        let values = text.text.split(separator: "\n").dropFirst(2).map { String($0.dropFirst(2)) }
        #expect(values == ["0", "-1.5", "1e+300", "+Inf", "-Inf", "NaN"])
    }
}
