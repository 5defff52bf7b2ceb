"""How good taught heads are: scenes rendered by code, taught on some days and judged on others."""
