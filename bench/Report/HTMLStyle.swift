extension HTMLReport {
    /// Colours of the targets, in light and in dark, and the rest of the page's looks.
    static let style = """

        :root {
          color-scheme: light dark;
          --ground: #fbfaf8; --card: #fff; --ink: #1d2126; --soft: #646b75; --line: #e2e0da;
          --good: #1a7f4b; --bad: #b3261e;
          --cluster: #1f6feb; --mode: #d9730d; --redis: #8b8f98; --other: #b9a44c;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --ground: #14171b; --card: #1b1f25; --ink: #e6e8eb; --soft: #98a1ad; --line: #2d333b;
            --good: #4cc38a; --bad: #ff7b72;
            --cluster: #6aa8ff; --mode: #f2a65a; --redis: #8f98a5; --other: #d8c26a;
          }
        }
        * { box-sizing: border-box; }
        body {
          margin: 0 auto; max-width: 1120px; padding: 28px 20px 60px;
          background: var(--ground); color: var(--ink);
          font: 15px/1.45 system-ui, sans-serif; font-variant-numeric: tabular-nums;
        }
        h1 { margin: 0; font-size: 26px; }
        h2 { margin: 34px 0 10px; font-size: 18px; }
        h3 { margin: 0; font-size: 15px; }
        header p { margin: 4px 0 12px; color: var(--soft); }
        dl { display: flex; flex-wrap: wrap; gap: 6px 18px; margin: 0; }
        dl div { display: flex; gap: 6px; }
        dt { color: var(--soft); }
        dd { margin: 0; }

        .goals {
          display: grid; gap: 14px; margin-top: 22px;
          grid-template-columns: repeat(auto-fit, minmax(300px, 1fr));
        }
        .goals article, figure, .scroll {
          background: var(--card); border: 1px solid var(--line); border-radius: 8px;
        }
        .goals article { border-left: 4px solid var(--soft); padding: 14px 16px; }
        .goals p { margin: 4px 0; color: var(--soft); }
        .goals .value { font-size: 30px; color: var(--ink); }
        .goals .met { border-left-color: var(--good); }
        .goals .met b { color: var(--good); }
        .goals .unmet { border-left-color: var(--bad); }
        .goals .unmet b, .failed h2 { color: var(--bad); }

        .plots { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
        .plots.wide { grid-template-columns: 1fr; }
        figure { margin: 0; padding: 12px 14px; }
        figcaption { color: var(--soft); font-size: 13px; margin-bottom: 6px; min-height: 38px; }
        .wide figcaption { min-height: 0; }
        svg { display: block; width: 100%; height: auto; }
        svg text { fill: var(--ink); font-size: 13px; }
        svg .soft { fill: var(--soft); }
        svg .grid { stroke: var(--line); }
        svg .c-cut { stroke: var(--bad); }
        .c-cluster { fill: var(--cluster); stroke: var(--cluster); }
        .c-mode { fill: var(--mode); stroke: var(--mode); }
        .c-redis { fill: var(--redis); stroke: var(--redis); }
        .c-other { fill: var(--other); stroke: var(--other); }

        .scroll { overflow-x: auto; }
        table { border-collapse: collapse; width: 100%; font-size: 13px; }
        th, td { padding: 5px 10px; text-align: left; vertical-align: top; }
        thead th { color: var(--soft); font-weight: 600; }
        td:first-child, td:nth-child(2), th, .n { white-space: nowrap; }
        td.r { min-width: 320px; }
        .n { text-align: right; }
        tbody tr.first td { border-top: 1px solid var(--line); }
        .absent { color: var(--soft); font-style: italic; }

        @media print {
          body { max-width: none; }
          figure, article, tr { break-inside: avoid; }
        }

        """
}
