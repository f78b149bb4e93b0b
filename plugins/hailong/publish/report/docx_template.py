"""How `templates/bao-cao.docx` was first made: `python -m hailong.publish.report.docx_template PATH`.

The layout is that of Decree 30/2020/NĐ-CP, annex I: A4, margins 20/20/30/15 mm, Times New Roman, national title and motto,
issuing body, number and symbol, place and date, title, recipients, signature. From then on the office edits the file with a
word processor; what must stay are the names in double braces and the styles `HL …`. Running this again writes it anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

FONT = "Times New Roman"


def make(path: Path) -> None:
    """Write the template anew."""
    from docx import Document
    from docx.enum.text import WD_ALIGN_PARAGRAPH as To
    from docx.shared import Mm, Pt

    document = Document()
    section = document.sections[0]
    section.page_width, section.page_height = Mm(210), Mm(297)
    section.top_margin = section.bottom_margin = Mm(20)
    section.left_margin, section.right_margin = Mm(30), Mm(15)
    section.header_distance = Mm(10)
    section.different_first_page_header_footer = True
    _styles(document)
    _page_number(section.header.paragraphs[0])
    for footer in (section.footer, section.first_page_footer):
        footer.paragraphs[0].style = "HL Chan trang"
        footer.paragraphs[0].add_run("{{ an_ban }}")

    head = _grid(document, (Mm(63), Mm(102)))
    left, right = head.rows[0].cells
    _lines(left, ("{{ co_quan_chu_quan }}", 12, False), ("{{ co_quan_ban_hanh }}", 12, True))
    _rule(left.add_paragraph(style="HL Khung"), Mm(19))
    _lines(right, ("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", 12, True), ("Độc lập - Tự do - Hạnh phúc", 13, True))
    _rule(right.add_paragraph(style="HL Khung"), Mm(21))
    number, place = head.add_row().cells
    _lines(number, ("Số:          /{{ ky_hieu }}", 13, False))
    _lines(place, ("{{ dia_danh_ngay }}", 13, False))
    place.paragraphs[0].runs[0].italic = True

    title = document.add_paragraph(style="HL Ten loai")
    title.paragraph_format.space_before = Pt(18)
    title.add_run("{{ tieu_de }}")
    subject = document.add_paragraph(style="HL Trich yeu")
    subject.add_run("{{ trich_yeu }}")
    _rule(document.add_paragraph(style="HL Khung"), Mm(58))
    to = document.add_paragraph(style="HL Kinh gui")
    to.add_run("Kính gửi: {{ kinh_gui }}")
    document.add_paragraph("{{ mo_dau }}", style="HL Doan")
    document.add_paragraph("{{p noi_dung }}", style="HL Doan")
    document.add_paragraph("{{ ket_thuc }}", style="HL Doan").paragraph_format.keep_with_next = True

    foot = _grid(document, (Mm(80), Mm(85)))
    left, right = foot.rows[0].cells
    left.paragraphs[0].style = "HL Khung"
    left.paragraphs[0].alignment = To.LEFT
    run = left.paragraphs[0].add_run("Nơi nhận:")
    run.bold = run.italic = True
    run.font.size = Pt(12)
    for line in ("{%p for ai in noi_nhan %}", "{{ ai }}", "{%p endfor %}"):
        paragraph = left.add_paragraph(style="HL Khung")
        paragraph.alignment = To.LEFT
        paragraph.add_run(line).font.size = Pt(11)
    _lines(right, ("{{ chuc_vu }}", 14, True))
    for _ in range(5):
        right.add_paragraph(style="HL Khung")
    document.add_paragraph("{{p phu_luc }}", style="HL Doan")
    document.core_properties.author = "Hài lòng"
    document.core_properties.comments = ""
    document.save(str(path))


def _styles(document: Any) -> None:
    from docx.enum.style import WD_STYLE_TYPE as Kind
    from docx.enum.text import WD_ALIGN_PARAGRAPH as To
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls, qn
    from docx.shared import Mm, Pt

    normal = document.styles["Normal"]
    normal.font.name, normal.font.size = FONT, Pt(13)
    normal.element.rPr.rFonts.set(qn("w:eastAsia"), FONT)
    normal.element.rPr.rFonts.set(qn("w:cs"), FONT)
    for name, size, bold, italic, align, before, after in (
        ("HL Khung", 13, False, False, To.CENTER, 0, 0),
        ("HL Ten loai", 14, True, False, To.CENTER, 0, 0),
        ("HL Trich yeu", 14, True, False, To.CENTER, 0, 0),
        ("HL Kinh gui", 13, False, False, To.CENTER, 12, 12),
        ("HL Muc", 13, True, False, To.LEFT, 12, 6),
        ("HL Phu luc", 14, True, False, To.CENTER, 0, 8),
        ("HL Tieu muc", 13, True, False, To.LEFT, 8, 4),
        ("HL Nhom", 13, False, True, To.LEFT, 6, 3),
        ("HL Doan", 13, False, False, To.JUSTIFY, 0, 6),
        ("HL Ghi chu", 11, False, True, To.JUSTIFY, 0, 6),
        ("HL Dong", 13, False, False, To.LEFT, 0, 6),
        ("HL Bang", 10, False, False, To.LEFT, 1, 1),
        ("HL Bang dau", 10, True, False, To.CENTER, 2, 2),
        ("HL Cach", 4, False, False, To.LEFT, 0, 0),
        ("HL Chan trang", 9, False, False, To.LEFT, 0, 0),
    ):
        style = document.styles.add_style(name, Kind.PARAGRAPH)
        style.base_style = normal
        style.font.size, style.font.bold, style.font.italic = Pt(size), bold, italic
        form = style.paragraph_format
        form.alignment, form.space_before, form.space_after = align, Pt(before), Pt(after)
        form.keep_with_next = name in ("HL Muc", "HL Phu luc", "HL Tieu muc", "HL Nhom")
    document.styles["HL Doan"].paragraph_format.first_line_indent = Mm(10)
    grid = document.styles.add_style("HL Luoi", Kind.TABLE)
    grid.element.append(
        parse_xml(
            f"<w:tblPr {nsdecls('w')}><w:tblBorders>"
            + "".join(
                f'<w:{side} w:val="single" w:sz="4" w:space="0" w:color="7F7F7F"/>'
                for side in ("top", "left", "bottom", "right", "insideH", "insideV")
            )
            + "</w:tblBorders></w:tblPr>"
        )
    )


def _grid(document: Any, widths: tuple[Any, ...]) -> Any:
    """A table without lines, to set things side by side."""
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    table = document.add_table(rows=1, cols=len(widths))
    table.autofit = False
    table._tbl.tblPr.append(
        parse_xml(
            f'<w:tblCellMar {nsdecls("w")}><w:left w:w="0" w:type="dxa"/><w:right w:w="0" w:type="dxa"/></w:tblCellMar>'
        )
    )
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
        for cell in column.cells:
            cell.width = width
    return table


def _lines(cell: Any, *lines: tuple[str, int, bool]) -> None:
    from docx.shared import Pt

    for number, (text, size, bold) in enumerate(lines):
        paragraph = cell.paragraphs[0] if number == 0 else cell.add_paragraph()
        paragraph.style = "HL Khung"
        run = paragraph.add_run(text)
        run.bold, run.font.size = bold, Pt(size)


def _rule(paragraph: Any, indent: Any) -> None:
    """A line under a head, as the Decree draws it: the border of a paragraph that says nothing."""
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls
    from docx.shared import Pt

    paragraph.paragraph_format.left_indent = paragraph.paragraph_format.right_indent = indent
    paragraph.paragraph_format.line_spacing = Pt(6)
    paragraph.paragraph_format.space_before = Pt(4)
    border = '<w:top w:val="single" w:sz="6" w:space="1" w:color="000000"/>'
    paragraph._p.get_or_add_pPr().insert_element_before(
        parse_xml(f"<w:pBdr {nsdecls('w')}>{border}</w:pBdr>"), "w:shd", "w:tabs", "w:spacing", "w:ind", "w:jc", "w:rPr"
    )


def _page_number(paragraph: Any) -> None:
    """Arabic, in the middle of the upper margin, from the second page on."""
    from docx.oxml import parse_xml
    from docx.oxml.ns import nsdecls

    paragraph.style = "HL Khung"
    paragraph._p.append(parse_xml(f'<w:fldSimple {nsdecls("w")} w:instr="PAGE"><w:r><w:t>2</w:t></w:r></w:fldSimple>'))


if __name__ == "__main__":
    make(Path(sys.argv[1]))
