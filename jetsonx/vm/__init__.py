"""Virtual machines: what they boot from, how they are started, and the engines behind them."""
